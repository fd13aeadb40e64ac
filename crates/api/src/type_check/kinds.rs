//! Which kinds a policy's rules name.

use std::collections::BTreeSet;

use meta::GroupVersionKind;
use serde_json::Value;

use super::split;
use crate::rules::view::View as _;

/// So many kinds of one rule are checked.
const MOST: usize = 10;

/// A resource that the API has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The kind of its objects, with the resource's group and version.
    pub kind: GroupVersionKind,
    /// The resource's name.
    pub plural: String,
    /// The name of one of it.
    pub singular: String,
}

/// The resources of an aggregated discovery document.
#[must_use]
pub fn served(document: &Value) -> Vec<Served> {
    let mut all = Vec::new();
    for group in document.list("items") {
        for version in group.list("versions") {
            for resource in version.list("resources") {
                all.push(Served {
                    kind: GroupVersionKind {
                        group: group.at("metadata").text("name").into(),
                        version: version.text("version").into(),
                        kind: resource.at("responseKind").text("kind").into(),
                    },
                    plural: resource.text("resource").to_owned(),
                    singular: resource.text("singularResource").to_owned(),
                });
            }
        }
    }
    all
}

/// The kinds that a policy's rules name, in order. Rules with a `*` for the group or the version name none, and neither
/// do subresources. As for Kubernetes' clients, a resource may be called by its singular, and a rule for the core group
/// is one for every group that has the resource in the version.
#[must_use]
pub fn kinds(policy: &Value, served: &[Served]) -> Vec<GroupVersionKind> {
    let mut found = BTreeSet::new();
    for rule in policy.at("spec").at("matchConstraints").list("resourceRules") {
        let (groups, versions) = (names(rule, "apiGroups"), names(rule, "apiVersions"));
        if groups.iter().chain(&versions).any(|name| name.contains('*')) {
            continue;
        }
        let mut resources = names(rule, "resources");
        resources.retain(|name| !name.contains(['*', '/']));
        let mut count = 0;
        for group in &groups {
            for version in &versions {
                for resource in &resources {
                    for one in served.iter().filter(|one| is_named(one, group, version, resource)) {
                        found.insert(one.kind.clone());
                        count += 1;
                        // The rules after this one aren't looked at any more either.
                        if count == MOST {
                            return found.into_iter().collect();
                        }
                    }
                }
            }
        }
    }
    found.into_iter().collect()
}

fn names<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = rule.list(key).iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names
}

fn is_named(one: &Served, group: &str, version: &str, resource: &str) -> bool {
    let resource = resource.to_lowercase();
    (group.is_empty() || one.kind.group == group)
        && one.kind.version == version
        && (one.plural == resource || one.singular == resource)
}

/// The kind of a policy's parameters; none when it has none.
#[must_use]
pub fn params(policy: &Value) -> Option<GroupVersionKind> {
    let kind = policy.at("spec").at("paramKind");
    let (group, version) = split(kind.text("apiVersion"))?;
    let found = GroupVersionKind {
        group: group.into(),
        version: version.into(),
        kind: kind.text("kind").into(),
    };
    kind.is_object().then_some(found)
}
