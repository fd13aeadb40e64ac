//! The roles and bindings that every cluster has, read from their table of facts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::rules::Rule;

const FACTS: &str = include_str!("bootstrap.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

/// An object to be made at start.
pub(crate) struct Made {
    pub(crate) group: String,
    pub(crate) plural: &'static str,
    pub(crate) object: Value,
}

/// A role as the table has it.
struct Role {
    namespace: Option<String>,
    name: String,
    labels: Map<String, Value>,
    rules: Vec<Rule>,
    aggregate: Vec<(String, String)>,
}

/// All roles, then all bindings.
pub(crate) fn made() -> Vec<Made> {
    let (mut roles, mut bindings): (Vec<Role>, Vec<Made>) = Default::default();
    for line in FACTS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["clusterrole", name, labels @ ..] => roles.push(Role::new(None, name, labels)),
            ["role", namespace, name] => roles.push(Role::new(Some(namespace), name, &[])),
            ["clusterrolebinding", name, role, subjects @ ..] => {
                bindings.push(binding(None, name, "ClusterRole", role, subjects));
            }
            ["rolebinding", namespace, name, kind, role, subjects @ ..] => {
                bindings.push(binding(Some(namespace), name, kind, role, subjects));
            }
            words => {
                if let Some(role) = roles.last_mut() {
                    role.add(words);
                }
            }
        }
    }
    let aggregated: BTreeMap<String, Vec<Rule>> = roles
        .iter()
        .map(|role| (role.name.clone(), collect(&roles, role)))
        .collect();
    let roles = roles.into_iter().map(|role| {
        let rules = aggregated.get(&role.name).cloned().unwrap_or_default();
        role.made(rules)
    });
    roles.chain(bindings).collect()
}

/// The rules of a role, those that it aggregates included.
fn collect(all: &[Role], role: &Role) -> Vec<Rule> {
    let mut rules = role.rules.clone();
    for (label, value) in &role.aggregate {
        for other in all
            .iter()
            .filter(|other| other.labels.get(label).and_then(Value::as_str) == Some(value))
        {
            for rule in collect(all, other) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    rules
}

impl Role {
    fn new(namespace: Option<&str>, name: &str, labels: &[&str]) -> Role {
        let labels = labels.iter().filter_map(|label| label.split_once('='));
        Role {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.into())).collect(),
            rules: Vec::new(),
            aggregate: Vec::new(),
        }
    }

    fn add(&mut self, words: &[&str]) {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let groups = |text: &str| {
            let group = |group: &str| {
                if group == "core" {
                    String::new()
                } else {
                    group.to_owned()
                }
            };
            text.split(',').map(group).collect::<Vec<_>>()
        };
        match words {
            ["allow", verbs, of, resources, names @ ..] => self.rules.push(Rule {
                verbs: list(verbs),
                api_groups: groups(of),
                resources: list(resources),
                resource_names: names.first().map(|names| list(names)).unwrap_or_default(),
                ..Rule::default()
            }),
            ["url", verbs, paths] => self.rules.push(Rule {
                verbs: list(verbs),
                non_resource_urls: list(paths),
                ..Rule::default()
            }),
            ["aggregate", label] => {
                self.aggregate.extend(
                    label
                        .split_once('=')
                        .map(|(key, value)| (key.to_owned(), value.to_owned())),
                );
            }
            _ => {}
        }
    }

    fn made(self, rules: Vec<Rule>) -> Made {
        let mut object = json!({"metadata": metadata(self.namespace.as_deref(), &self.name), "rules": rules});
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.extend(self.labels);
        }
        if !self.aggregate.is_empty() {
            let selectors: Vec<Value> = self
                .aggregate
                .iter()
                .map(|(key, value)| json!({"matchLabels": {key: value}}))
                .collect();
            object["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        }
        let plural = if self.namespace.is_some() {
            "roles"
        } else {
            "clusterroles"
        };
        Made {
            group: GROUP.to_owned(),
            plural,
            object,
        }
    }
}

fn metadata(namespace: Option<&str>, name: &str) -> Value {
    let mut metadata = json!({
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn binding(namespace: Option<&str>, name: &str, kind: &str, role: &str, subjects: &[&str]) -> Made {
    let subjects: Vec<Value> = subjects.iter().filter_map(|subject| self::subject(subject)).collect();
    let object = json!({
        "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": subjects,
    });
    let plural = if namespace.is_some() {
        "rolebindings"
    } else {
        "clusterrolebindings"
    };
    Made {
        group: GROUP.to_owned(),
        plural,
        object,
    }
}

fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once('=')?;
    Some(match kind {
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        "sa" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_has_what_is_aggregated_to_it() {
        let all = made();
        let find = |name: &str| {
            all.iter()
                .find(|made| crate::object::name(&made.object) == name)
                .unwrap()
        };
        let admin = find("admin").object["rules"].to_string();
        for resource in ["rolebindings", "deployments", "\"pods/log\"".trim_matches('"')] {
            assert!(admin.contains(resource), "{resource}");
        }
        let node = find("system:node").object["rules"].as_array().unwrap().len();
        assert!(node > 10, "{node}");
        assert!(all.len() > 130, "{}", all.len());
    }
}
