//! RBAC, compiled: which rules each user and group has, and where.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::rules::Rule;
use super::{Attributes, Decision};
use crate::user::{User, service_account_name};

/// All roles and bindings in a form that answers quickly. Made anew when one of them changes.
#[derive(Default)]
pub(crate) struct Policy {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
    roles: HashMap<(String, String), Arc<[Rule]>>,
}

/// A role that a subject has, everywhere or in one namespace.
#[derive(Clone)]
struct Grant {
    namespace: Option<Arc<str>>,
    rules: Arc<[Rule]>,
    binding: Arc<str>,
}

/// The parts of a Role or ClusterRole that count.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RoleObject {
    metadata: Metadata,
    rules: Option<Vec<Rule>>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Aggregation {
    cluster_role_selectors: Vec<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BindingObject {
    metadata: Metadata,
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

/// The stored bytes of all RBAC objects, by kind.
pub(crate) struct Sources<'a> {
    pub(crate) cluster_roles: Vec<&'a [u8]>,
    pub(crate) roles: Vec<&'a [u8]>,
    pub(crate) cluster_bindings: Vec<&'a [u8]>,
    pub(crate) bindings: Vec<&'a [u8]>,
}

impl Policy {
    /// Compiles what is stored. An object that can't be read grants nothing.
    pub(crate) fn compile(sources: &Sources<'_>) -> Policy {
        let cluster: Vec<RoleObject> = parse(&sources.cluster_roles);
        let mut roles: HashMap<(String, String), Arc<[Rule]>> = HashMap::new();
        for role in &cluster {
            let mut rules = role.rules.clone().unwrap_or_default();
            if role.aggregation_rule.is_some() {
                aggregate(&cluster, role, &mut rules, &mut Vec::new());
            }
            roles.insert((String::new(), role.metadata.name.clone()), rules.into());
        }
        for role in parse::<RoleObject>(&sources.roles) {
            let rules = role.rules.unwrap_or_default();
            roles.insert((role.metadata.namespace, role.metadata.name), rules.into());
        }
        let mut policy = Policy {
            roles,
            ..Policy::default()
        };
        for binding in parse::<BindingObject>(&sources.cluster_bindings) {
            policy.bind(&binding, None);
        }
        for binding in parse::<BindingObject>(&sources.bindings) {
            policy.bind(&binding, Some(Arc::from(binding.metadata.namespace.as_str())));
        }
        policy
    }

    fn bind(&mut self, binding: &BindingObject, namespace: Option<Arc<str>>) {
        let of = match (binding.role_ref.kind.as_str(), &namespace) {
            ("Role", Some(namespace)) => namespace.to_string(),
            _ => String::new(),
        };
        let Some(rules) = self.roles.get(&(of, binding.role_ref.name.clone())).cloned() else {
            return;
        };
        let kind = if namespace.is_some() {
            "RoleBinding"
        } else {
            "ClusterRoleBinding"
        };
        let role = &binding.role_ref;
        let text = match &namespace {
            Some(namespace) => format!(
                "{kind} \"{}/{namespace}\" of {} {:?}",
                binding.metadata.name, role.kind, role.name
            ),
            None => format!("{kind} {:?} of {} {:?}", binding.metadata.name, role.kind, role.name),
        };
        for subject in binding.subjects.iter().flatten() {
            let grant = Grant {
                namespace: namespace.clone(),
                rules: Arc::clone(&rules),
                binding: Arc::from(format!(
                    "RBAC: allowed by {text} to {} {}",
                    subject.kind,
                    subject.shown()
                )),
            };
            let list = match subject.kind.as_str() {
                "User" => self.users.entry(subject.name.clone()),
                "Group" => self.groups.entry(subject.name.clone()),
                "ServiceAccount" => {
                    let home = match subject.namespace.as_str() {
                        "" => namespace.as_deref().unwrap_or_default(),
                        home => home,
                    };
                    self.users.entry(service_account_name(home, &subject.name))
                }
                _ => continue,
            };
            list.or_default().push(grant);
        }
    }

    /// Whether some rule allows it.
    pub(crate) fn decide(&self, asked: &Attributes<'_>) -> Decision {
        for grant in self.grants(asked.user, asked.namespace) {
            if grant.rules.iter().any(|rule| rule.allows(asked)) {
                return Decision::Allow(grant.binding.to_string());
            }
        }
        Decision::NoOpinion(String::new())
    }

    /// All rules that a user has in a namespace (or in the whole cluster, when it is empty).
    pub(crate) fn rules_of<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Rule> + 'a {
        self.grants(user, namespace).flat_map(|grant| grant.rules.iter())
    }

    /// The rules of a role, by namespace (empty for cluster roles) and name.
    pub(crate) fn role(&self, namespace: &str, name: &str) -> Option<&[Rule]> {
        self.roles
            .get(&(namespace.to_owned(), name.to_owned()))
            .map(|rules| &**rules)
    }

    fn grants<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Grant> + 'a {
        let own = self.users.get(&user.name).into_iter();
        let shared = user.groups.iter().filter_map(|group| self.groups.get(group));
        own.chain(shared).flatten().filter(move |grant| match &grant.namespace {
            None => true,
            Some(home) => !namespace.is_empty() && **home == *namespace,
        })
    }
}

impl Subject {
    fn shown(&self) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => format!("\"{}/{}\"", self.name, self.namespace),
            _ => format!("{:?}", self.name),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(sources: &[&'a [u8]]) -> Vec<T> {
    sources
        .iter()
        .filter_map(|bytes| serde_json::from_slice(bytes).ok())
        .collect()
}

/// Adds the rules of every cluster role that an aggregated one selects, and of those that these select.
fn aggregate<'a>(all: &'a [RoleObject], role: &'a RoleObject, rules: &mut Vec<Rule>, seen: &mut Vec<&'a str>) {
    let Some(aggregation) = &role.aggregation_rule else {
        return;
    };
    if seen.contains(&role.metadata.name.as_str()) {
        return;
    }
    seen.push(&role.metadata.name);
    for selector in &aggregation.cluster_role_selectors {
        let Ok(selector) = meta::labels::Selector::from_label_selector(Some(selector)) else {
            continue;
        };
        for other in all {
            if other.metadata.name == role.metadata.name || !selector.matches(&other.metadata.labels) {
                continue;
            }
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            aggregate(all, other, rules, seen);
        }
    }
}
