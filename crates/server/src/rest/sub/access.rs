//! Access reviews: may somebody do something, and what may I do.

use std::collections::BTreeMap;

use http::StatusCode;
use meta::{FieldError, Status};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::authz::rules::Rule;
use crate::authz::{Attributes, Decision};
use crate::object::text;
use crate::rest::decode;
use crate::rest::options::WriteOptions;
use crate::user::User;

/// Answers SelfSubjectAccessReview, SubjectAccessReview and LocalSubjectAccessReview.
pub(super) fn review(call: &Call) -> Result<Answer, Status> {
    let mut object = decode::object(call, &WriteOptions::parse(call, "CreateOptions")?)?;
    let spec = object["spec"].clone();
    check(call, &object, &spec)?;
    let user = if call.kind.resource.resource == "selfsubjectaccessreviews" {
        call.user.clone()
    } else {
        subject(&spec)
    };
    let decision = call.core.decide(&attributes(&user, &spec));
    object["status"] = match decision {
        Decision::Allow(reason) if reason.is_empty() => json!({"allowed": true}),
        Decision::Allow(reason) => json!({"allowed": true, "reason": reason}),
        Decision::NoOpinion(reason) if reason.is_empty() => json!({"allowed": false}),
        Decision::NoOpinion(reason) => json!({"allowed": false, "reason": reason}),
    };
    stamp(&mut object);
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object,
    })
}

fn stamp(object: &mut Value) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
}

fn check(call: &Call, object: &Value, spec: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    let has = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    match (has("resourceAttributes"), has("nonResourceAttributes")) {
        (true, true) => errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            spec["nonResourceAttributes"].clone(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let own = call.kind.resource.resource == "selfsubjectaccessreviews";
    if !own && text(spec, &["user"]).is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::invalid(
            "spec.user",
            "",
            "at least one of user or group must be specified",
        ));
    }
    if call.kind.resource.resource == "localsubjectaccessreviews" {
        let given = text(spec, &["resourceAttributes", "namespace"]);
        if Some(given) != call.namespace() {
            let why = "must match metadata.namespace";
            errors.push(FieldError::invalid("spec.resourceAttributes.namespace", given, why));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        &call.kind.group_kind,
        crate::object::name(object),
        &errors,
    ))
}

fn subject(spec: &Value) -> User {
    let list = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let extra: BTreeMap<String, Vec<String>> = spec["extra"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), list(value)))
        .collect();
    User {
        name: text(spec, &["user"]).to_owned(),
        uid: text(spec, &["uid"]).to_owned(),
        groups: list(&spec["groups"]),
        extra,
    }
}

fn attributes<'a>(user: &'a User, spec: &'a Value) -> Attributes<'a> {
    if let Some(asked) = spec.get("nonResourceAttributes").filter(|asked| !asked.is_null()) {
        let path = Some(text(asked, &["path"]));
        return Attributes {
            path,
            ..Attributes::resource(user, text(asked, &["verb"]), "", "")
        };
    }
    let asked = &spec["resourceAttributes"];
    Attributes {
        subresource: text(asked, &["subresource"]),
        namespace: text(asked, &["namespace"]),
        name: text(asked, &["name"]),
        ..Attributes::resource(
            user,
            text(asked, &["verb"]),
            text(asked, &["group"]),
            text(asked, &["resource"]),
        )
    }
}

/// Answers SelfSubjectRulesReview.
pub(super) fn rules(call: &Call) -> Result<Answer, Status> {
    let mut object = decode::object(call, &WriteOptions::parse(call, "CreateOptions")?)?;
    let namespace = text(&object, &["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let policy = call.core.policy();
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let everything = [rule_of(&["*"], true), rule_of(&["*"], false)];
    let own: Vec<&Rule> = match call.user.is_in(crate::user::MASTERS) {
        true => everything.iter().collect(),
        false => policy.rules_of(&call.user, &namespace).collect(),
    };
    for rule in own {
        let list = if rule.non_resource_urls.is_empty() {
            &mut resources
        } else {
            &mut paths
        };
        list.push(json!(rule));
    }
    object["status"] = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    stamp(&mut object);
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object,
    })
}

fn rule_of(words: &[&str], resource: bool) -> Rule {
    let all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match resource {
        true => Rule {
            verbs: all.clone(),
            api_groups: all.clone(),
            resources: all,
            ..Rule::default()
        },
        false => Rule {
            verbs: all.clone(),
            non_resource_urls: all,
            ..Rule::default()
        },
    }
}
