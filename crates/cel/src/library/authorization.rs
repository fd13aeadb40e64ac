//! `authorizer`: a question is put together step by step, and asked by `check`.

use std::sync::Arc;

use super::{Table, opaque, text};
use crate::authorizer::{ASKER, Asked, DECISION, GROUP_CHECK, PATH_CHECK, Question, RESOURCE_CHECK, Verdict};
use crate::error::Error;
use crate::types::Type;
use crate::value::Value;

pub(super) fn add(table: &mut Table) {
    let (asker, path, group) = (Type::Opaque(ASKER), Type::Opaque(PATH_CHECK), Type::Opaque(GROUP_CHECK));
    let (resource, decision) = (Type::Opaque(RESOURCE_CHECK), Type::Opaque(DECISION));
    let s = || Type::String;
    table.method("path", [asker.clone(), s()], path.clone(), |a| {
        step(a, PATH_CHECK, |asked, path| asked.path = Some(path.to_owned()))
    });
    table.method("group", [asker.clone(), s()], group.clone(), |a| {
        step(a, GROUP_CHECK, |asked, group| group.clone_into(&mut asked.group))
    });
    table.method("serviceAccount", [asker.clone(), s(), s()], asker, |a| {
        let name = text(&a[2])?.to_owned();
        step(a, ASKER, |asked, namespace| {
            asked.account = Some((namespace.to_owned(), name))
        })
    });
    table.method("resource", [group, s()], resource.clone(), |a| {
        step(a, RESOURCE_CHECK, |asked, resource| {
            resource.clone_into(&mut asked.resource)
        })
    });
    table.method("subresource", [resource.clone(), s()], resource.clone(), |a| {
        step(a, RESOURCE_CHECK, |asked, name| name.clone_into(&mut asked.subresource))
    });
    table.method("namespace", [resource.clone(), s()], resource.clone(), |a| {
        step(a, RESOURCE_CHECK, |asked, name| name.clone_into(&mut asked.namespace))
    });
    table.method("name", [resource.clone(), s()], resource.clone(), |a| {
        step(a, RESOURCE_CHECK, |asked, name| name.clone_into(&mut asked.name))
    });
    table.method("fieldSelector", [resource.clone(), s()], resource.clone(), |a| {
        step(a, RESOURCE_CHECK, |asked, fields| fields.clone_into(&mut asked.fields))
    });
    // No authorizer here looks at labels: the question stays as wide as it is, which can only refuse more.
    table.method("labelSelector", [resource.clone(), s()], resource.clone(), |a| {
        step(a, RESOURCE_CHECK, |_, _| {})
    });
    for of in [path, resource] {
        table.method("check", [of, s()], decision.clone(), |a| {
            let question = opaque::<Question>(&a[0])?;
            let mut asked = question.asked.clone();
            text(&a[1])?.clone_into(&mut asked.verb);
            Ok(Value::opaque(question.by.decide(&asked)))
        });
    }
    table.method("allowed", [decision.clone()], Type::Bool, |a| {
        Ok(Value::Bool(opaque::<Verdict>(&a[0])?.allowed))
    });
    table.method("reason", [decision.clone()], Type::String, |a| {
        Ok(Value::text(opaque::<Verdict>(&a[0])?.reason.as_str()))
    });
    // Asking can't fail here.
    table.method("errored", [decision.clone()], Type::Bool, |a| {
        opaque::<Verdict>(&a[0]).map(|_| Value::Bool(false))
    });
    table.method("error", [decision], Type::String, |a| {
        opaque::<Verdict>(&a[0]).map(|_| Value::text(""))
    });
}

fn step(a: &[Value], stage: &'static str, change: impl FnOnce(&mut Asked, &str)) -> Result<Value, Error> {
    let question = opaque::<Question>(&a[0])?;
    let mut asked = question.asked.clone();
    change(&mut asked, text(&a[1])?);
    Ok(Value::opaque(Question {
        by: Arc::clone(&question.by),
        asked,
        stage,
    }))
}
