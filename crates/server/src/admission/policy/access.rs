//! A policy sees its parameters with the server's own eyes, so who writes a policy or a binding must be allowed to read
//! them: otherwise the policy's messages would tell what the author may not see. No plug-in of Kubernetes', where the
//! check is part of the resources' strategies.

use async_trait::async_trait;
use meta::{FieldError, GroupVersion, Status};
use serde_json::Value;

use super::{GROUP, MUTATING, SOURCES, VALIDATING};
use crate::admission::{Operation, Plugin, Review};
use crate::authz::{Attributes, Decision};
use crate::kinds::Kind;
use crate::object::text;
use crate::user::{MASTERS, User};

/// The check.
pub(crate) struct ParamAccess;

#[async_trait]
impl Plugin for ParamAccess {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.kind.resource.group == GROUP
            && SOURCES.contains(&review.kind.resource.resource.as_str())
            && review.subresource.is_empty()
            && matches!(review.operation, Operation::Create | Operation::Update)
            && !review.user.is_in(MASTERS)
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(spec) = object.and_then(|object| object.get("spec")) else {
            return Ok(());
        };
        let old = review.old.and_then(|old| old.get("spec"));
        let same = |field: &str| old.and_then(|old| old.get(field)) == spec.get(field);
        let is_policy = [MUTATING[0], VALIDATING[0]].contains(&review.kind.resource.resource.as_str());
        let (path, refused) = match is_policy {
            true => match spec.get("paramKind") {
                Some(kind) if kind.is_object() && !same("paramKind") => ("spec.paramKind", policy(review, kind)),
                _ => return Ok(()),
            },
            false => match spec.get("paramRef") {
                Some(wanted) if wanted.is_object() && !(same("paramRef") && same("policyName")) => {
                    ("spec.paramRef", binding(review, spec, wanted)?)
                }
                _ => return Ok(()),
            },
        };
        match refused {
            None => Ok(()),
            Some(why) => {
                let errors = [FieldError::forbidden(path, why)];
                Err(Status::invalid(&review.kind.group_kind, review.name, &errors))
            }
        }
    }
}

/// What must be readable: a kind, as far as it can be made out; everything where it can't.
struct Target {
    group: String,
    resource: String,
    /// What could not be made out.
    unknown: Option<&'static str>,
}

impl Target {
    fn of(review: &Review<'_>, param_kind: &Value) -> Target {
        let Ok(version) = GroupVersion::parse(text(param_kind, &["apiVersion"])) else {
            return Target::everything("parse");
        };
        let served = review.core.kinds.now();
        let fits = |kind: &&std::sync::Arc<Kind>| {
            kind.api_version == version.to_string() && *kind.row.kind == *text(param_kind, &["kind"])
        };
        match served.all().iter().find(fits) {
            Some(kind) => Target {
                group: version.group,
                resource: kind.resource.resource.clone(),
                unknown: None,
            },
            None => Target {
                group: version.group,
                resource: "*".into(),
                unknown: Some("resolve"),
            },
        }
    }

    fn everything(unknown: &'static str) -> Target {
        Target {
            group: "*".into(),
            resource: "*".into(),
            unknown: Some(unknown),
        }
    }
}

/// Why the author may not name this kind.
fn policy(review: &Review<'_>, param_kind: &Value) -> Option<String> {
    let target = Target::of(review, param_kind);
    let asked = Attributes {
        name: "*",
        namespace: "*",
        ..Attributes::resource(review.user, "get", &target.group, &target.resource)
    };
    let allowed = matches!(review.core.decide(&asked), Decision::Allow(_));
    (!allowed).then(|| {
        format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            go_text(review.user),
            text(param_kind, &["kind"]),
            text(param_kind, &["apiVersion"])
        )
    })
}

/// Why the author may not name these objects.
fn binding(review: &Review<'_>, spec: &Value, wanted: &Value) -> Result<Option<String>, Status> {
    let name = text(spec, &["policyName"]);
    let param_kind = found_policy(review, name)?.map(|policy| policy["spec"]["paramKind"].clone());
    let target = match &param_kind {
        None => Target::everything("get"),
        Some(Value::Null) => Target {
            unknown: None,
            ..Target::everything("")
        },
        Some(param_kind) => Target::of(review, param_kind),
    };
    let verb = match text(wanted, &["name"]) {
        "" => "list",
        _ => "get",
    };
    let asked = Attributes {
        name: text(wanted, &["name"]),
        namespace: text(wanted, &["namespace"]),
        ..Attributes::resource(review.user, verb, &target.group, &target.resource)
    };
    if matches!(review.core.decide(&asked), Decision::Allow(_)) {
        return Ok(None);
    }
    let user = go_text(review.user);
    let least = format!(
        "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, \
         versions and resources"
    );
    let shown = |kind: &Value| {
        format!(
            "&ParamKind{{APIVersion:{},Kind:{},}}",
            text(kind, &["apiVersion"]),
            text(kind, &["kind"])
        )
    };
    Ok(Some(match (target.unknown, &param_kind) {
        (Some(failed @ ("parse" | "resolve")), Some(kind)) => {
            format!("unable to {failed} paramKind {} {least}", shown(kind))
        }
        (Some(_), _) => format!("unable to get policy {name} {least}"),
        (None, _) => format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef"),
    }))
}

/// The policy that a binding names.
fn found_policy(review: &Review<'_>, name: &str) -> Result<Option<Value>, Status> {
    let [policies, _] = match review.kind.resource.resource == MUTATING[1] {
        true => MUTATING,
        false => VALIDATING,
    };
    let kind = review.core.kinds.find(GROUP, "v1", policies);
    let kind = kind.ok_or_else(Status::no_such_resource)?;
    let version = kind.cache()?.get(&kind.key(None, name));
    version
        .map(|version| kind.tree(version.bytes(), version.revision()))
        .transpose()
}

/// A user as Go prints one.
fn go_text(user: &User) -> String {
    let extra: Vec<String> = user
        .extra
        .iter()
        .map(|(key, values)| format!("{key}:[{}]", values.join(" ")))
        .collect();
    format!(
        "&{{{} {} [{}] map[{}]}}",
        user.name,
        user.uid,
        user.groups.join(" "),
        extra.join(" ")
    )
}
