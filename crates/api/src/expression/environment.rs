//! What the expressions of admission may refer to, and of which types it is.

use std::collections::BTreeMap;

use cel::{Declaration, Environment, Program, Question, Type};
use serde_json::Value;

use super::Declared;
use crate::rules::view::View as _;

/// What is known of the objects and parameters of a policy; nothing is [`Type::Dyn`].
pub(crate) struct Typed<'a> {
    /// `object` and `oldObject`.
    pub(crate) object: Option<&'a Declaration>,
    /// `params`, when there are any.
    pub(crate) params: Option<Option<&'a Declaration>>,
}

/// What is declared.
pub(super) fn of(declared: &Declared<'_>) -> Environment {
    let mut environment = Environment::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("namespaceObject", namespace())
        .with("request", request());
    if declared.params {
        environment = environment.with("params", Type::Dyn);
    }
    if declared.authorizer {
        environment = environment
            .with("authorizer", Question::TYPE)
            .with("authorizer.requestResource", Question::RESOURCE_TYPE);
    }
    if !declared.variables.is_empty() {
        environment = environment.with("variables", variables(declared.variables));
    }
    if declared.patches {
        environment = environment.with_struct("Object").with_struct("JSONPatch");
    }
    environment
}

/// What the validations of a policy see while their types are checked. Of `authorizer`, Kubernetes declares no
/// `requestResource` here. A variable that is wrong itself is of no known type.
pub(crate) fn typed(typed: &Typed<'_>, composed: &[Value]) -> Environment {
    let declared = |known: Option<&Declaration>| known.cloned().unwrap_or_else(|| Type::Dyn.into());
    let mut environment = Environment::new()
        .with("object", declared(typed.object))
        .with("oldObject", declared(typed.object))
        .with("namespaceObject", namespace())
        .with("request", request())
        .with("authorizer", Question::TYPE);
    if let Some(params) = typed.params {
        environment = environment.with("params", declared(params));
    }
    let mut known = Vec::new();
    environment = environment.with("variables", variables(&known));
    for variable in composed {
        let compiled = Program::compile(variable.text("expression"), &environment);
        let ty = compiled.map_or(Type::Dyn, |program| program.output().clone());
        known.push((variable.text("name").to_owned(), ty));
        environment = environment.with("variables", variables(&known));
    }
    environment
}

fn variables(known: &[(String, Type)]) -> Declaration {
    let fields = known.iter().map(|(name, ty)| (name.clone(), of_variable(ty).into()));
    Declaration::object("kubernetes.variables", fields.collect())
}

/// What is known of a variable whose expression is of a type: nothing that has a name of its own.
fn of_variable(ty: &Type) -> Type {
    match ty {
        Type::List(of) => Type::list(of_variable(of)),
        Type::Map(from, to) => Type::map(of_variable(from), of_variable(to)),
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => ty.clone(),
        _ => Type::Dyn,
    }
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields
        .iter()
        .map(|(name, ty)| ((*name).to_owned(), Declaration::from(ty.clone())));
    Declaration::object(name, fields.collect::<BTreeMap<_, _>>()).ty
}

/// An `AdmissionRequest` without the objects.
fn request() -> Type {
    let text = || Type::String;
    let kind = || {
        let fields = [("group", text()), ("version", text()), ("kind", text())];
        object("kubernetes.GroupVersionKind", &fields)
    };
    let resource = || {
        let fields = [("group", text()), ("version", text()), ("resource", text())];
        object("kubernetes.GroupVersionResource", &fields)
    };
    let user = [
        ("username", text()),
        ("uid", text()),
        ("groups", Type::list(text())),
        ("extra", Type::map(text(), Type::list(text()))),
    ];
    let fields = [
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", text()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", object("kubernetes.UserInfo", &user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    object("kubernetes.AdmissionRequest", &fields)
}

/// A namespace, without what is left out by design.
fn namespace() -> Type {
    let text = || Type::String;
    let texts = || Type::list(text());
    let condition = [
        ("status", text()),
        ("type", text()),
        ("lastTransitionTime", Type::Timestamp),
        ("message", text()),
        ("reason", text()),
    ];
    let condition = object("kubernetes.NamespaceCondition", &condition);
    let status = [("conditions", Type::list(condition)), ("phase", text())];
    let metadata = [
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", Type::map(text(), text())),
        ("annotations", Type::map(text(), text())),
        // Not `uid`.
        ("UID", text()),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", text()),
        ("finalizers", texts()),
    ];
    let fields = [
        ("metadata", object("kubernetes.NamespaceMetadata", &metadata)),
        ("spec", object("kubernetes.NamespaceSpec", &[("finalizers", texts())])),
        ("status", object("kubernetes.NamespaceStatus", &status)),
    ];
    object("kubernetes.Namespace", &fields)
}
