//! Nobody may grant what they don't have: the check on roles and bindings as they are written.

use meta::Status;
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision, Policy, node};
use crate::user::{MASTERS, User};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a Role, ClusterRole, RoleBinding or ClusterRoleBinding that is created or changed; everything else passes.
pub(crate) fn check(
    policy: &Policy,
    pods: &node::Pods,
    user: &User,
    resource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if user.is_in(MASTERS) {
        return Ok(());
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    let asked = |verb, resource| Attributes {
        name,
        namespace,
        ..Attributes::resource(user, verb, GROUP, resource)
    };
    let may = |attributes: &Attributes<'_>| matches!(super::decide(policy, pods, attributes), Decision::Allow(_));
    let wanted: Vec<Rule> = match resource {
        "roles" | "clusterroles" => {
            let same = |field: &str| old.is_some_and(|old| old.get(field) == object.get(field));
            if (same("rules") && same("aggregationRule")) || may(&asked("escalate", resource)) {
                return Ok(());
            }
            if object.get("aggregationRule").is_some_and(|rule| !rule.is_null()) && !same("aggregationRule") {
                return star(policy, user, object, name);
            }
            object
                .get("rules")
                .and_then(|rules| serde_json::from_value(rules.clone()).ok())
                .unwrap_or_default()
        }
        "rolebindings" | "clusterrolebindings" => {
            let same = |field: &str| old.is_some_and(|old| old.get(field) == object.get(field));
            let cluster = text("/roleRef/kind") == "ClusterRole";
            let (role, kind) = (text("/roleRef/name"), if cluster { "clusterroles" } else { "roles" });
            if (same("subjects") && same("roleRef"))
                || may(&Attributes {
                    name: role,
                    ..asked("bind", kind)
                })
            {
                return Ok(());
            }
            match policy.role(if cluster { "" } else { namespace }, role) {
                Some(rules) => rules.to_vec(),
                None => {
                    let resource = meta::GroupResource::new(GROUP, if cluster { "clusterrole" } else { "role" });
                    return Err(Status::not_found(&resource, role));
                }
            }
        }
        _ => return Ok(()),
    };
    let held: Vec<&Rule> = policy.rules_of(user, namespace).collect();
    refuse_missing(user, resource, name, &held, &wanted)
}

/// Whoever writes an aggregation rule must have everything, since anything may be selected later.
fn star(policy: &Policy, user: &User, _object: &Value, name: &str) -> Result<(), Status> {
    let all = || vec!["*".to_owned()];
    let everything = [
        Rule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            non_resource_urls: all(),
            ..Rule::default()
        },
    ];
    let held: Vec<&Rule> = policy.rules_of(user, "").collect();
    if everything
        .iter()
        .all(|piece| held.iter().any(|rule| rule.covers(piece)))
    {
        return Ok(());
    }
    let resource = meta::GroupResource::new(GROUP, "clusterroles");
    Err(Status::forbidden(
        &resource,
        name,
        "must have cluster-admin privileges to use the aggregationRule",
    ))
}

fn refuse_missing(user: &User, resource: &str, name: &str, held: &[&Rule], wanted: &[Rule]) -> Result<(), Status> {
    let mut missing: Vec<Rule> = Vec::new();
    for piece in wanted.iter().flat_map(Rule::pieces) {
        if held.iter().any(|rule| rule.covers(&piece)) {
            continue;
        }
        // Kubernetes tells them with the verbs of one thing together.
        match missing.iter_mut().find(|rule| {
            rule.api_groups == piece.api_groups
                && rule.resources == piece.resources
                && rule.resource_names == piece.resource_names
                && rule.non_resource_urls == piece.non_resource_urls
        }) {
            Some(rule) => rule.verbs.extend(piece.verbs),
            None => missing.push(piece),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = missing.iter().map(ToString::to_string).collect();
    lines.sort();
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let reason = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    );
    Err(Status::forbidden(
        &meta::GroupResource::new(GROUP, resource),
        name,
        &reason,
    ))
}
