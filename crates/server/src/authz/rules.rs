//! Policy rules as Role and ClusterRole objects have them: matching and covering.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Attributes;

const ALL: &str = "*";

/// One rule: any of the verbs on any of the resources, or on any of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "nonResourceURLs")]
    pub(crate) non_resource_urls: Vec<String>,
}

impl Rule {
    /// Whether the rule allows what is asked for.
    pub(crate) fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has(&self.verbs, asked.verb) {
            return false;
        }
        match asked.path {
            Some(path) => self.non_resource_urls.iter().any(|pattern| path_matches(pattern, path)),
            None => {
                has(&self.api_groups, asked.group)
                    && self
                        .resources
                        .iter()
                        .any(|entry| resource_matches(entry, asked.resource, asked.subresource))
                    && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name))
            }
        }
    }

    /// The rule in pieces of one verb on one thing each.
    pub(crate) fn pieces(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                out.push(Rule {
                    verbs: vec![verb.clone()],
                    non_resource_urls: vec![url.clone()],
                    ..Rule::default()
                });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let names: Vec<Vec<String>> = match self.resource_names.as_slice() {
                        [] => vec![Vec::new()],
                        names => names.iter().map(|name| vec![name.clone()]).collect(),
                    };
                    out.extend(names.into_iter().map(|resource_names| Rule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names,
                        ..Rule::default()
                    }));
                }
            }
        }
        out
    }

    /// Whether everything that a piece (see [`Rule::pieces`]) allows, this rule allows.
    pub(crate) fn covers(&self, piece: &Rule) -> bool {
        let all = |have: &[String], wanted: &[String]| wanted.iter().all(|word| has(have, word));
        if !all(&self.verbs, &piece.verbs) {
            return false;
        }
        if !piece.non_resource_urls.is_empty() {
            return piece.non_resource_urls.iter().all(|url| {
                self.non_resource_urls
                    .iter()
                    .any(|have| have == url || path_matches(have, url))
            });
        }
        let resources = piece.resources.iter().all(|wanted| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources
                .iter()
                .any(|have| have == wanted || resource_matches(have, resource, subresource))
        });
        let names = self.resource_names.is_empty()
            || (!piece.resource_names.is_empty()
                && piece
                    .resource_names
                    .iter()
                    .all(|name| self.resource_names.contains(name)));
        resources && names && all(&self.api_groups, &piece.api_groups)
    }
}

/// As Kubernetes prints a rule in the message of a refused escalation.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (name, list) in [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
                parts.push(format!("{name}:[{}]", words.join(" ")));
            }
        }
        write!(f, "{{{}}}", parts.join(", "))
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|word| word == ALL || word == wanted)
}

fn resource_matches(entry: &str, resource: &str, subresource: &str) -> bool {
    if entry == ALL {
        return true;
    }
    match entry.split_once('/') {
        None => subresource.is_empty() && entry == resource,
        Some((first, second)) => {
            second == subresource && !subresource.is_empty() && (first == ALL || first == resource)
        }
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::User;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        Rule {
            verbs: own(verbs),
            api_groups: own(groups),
            resources: own(resources),
            resource_names: own(names),
            ..Rule::default()
        }
    }

    #[test]
    fn subresources_are_separate() {
        let user = User::new("a", &[]);
        let asked = Attributes::resource(&user, "get", "", "pods");
        let log = Attributes {
            subresource: "log",
            ..asked
        };
        assert!(rule(&["get"], &[""], &["pods"], &[]).allows(&asked));
        assert!(!rule(&["get"], &[""], &["pods"], &[]).allows(&log));
        assert!(rule(&["get"], &[""], &["pods/log"], &[]).allows(&log));
        assert!(rule(&["get"], &[""], &["*/log"], &[]).allows(&log));
        assert!(rule(&["*"], &["*"], &["*"], &[]).allows(&log));
    }

    #[test]
    fn names_limit() {
        let user = User::new("a", &[]);
        let asked = Attributes {
            name: "x",
            ..Attributes::resource(&user, "get", "", "secrets")
        };
        let named = rule(&["get"], &[""], &["secrets"], &["x"]);
        assert!(named.allows(&asked));
        assert!(!named.allows(&Attributes {
            name: "",
            verb: "get",
            ..asked
        }));
        assert!(!named.covers(&rule(&["get"], &[""], &["secrets"], &[])));
        assert!(rule(&["get"], &[""], &["secrets"], &[]).covers(&named));
    }

    #[test]
    fn refused_rules_print_as_in_kubernetes() {
        let text = rule(&["get"], &[""], &["secrets"], &[]).to_string();
        assert_eq!(text, r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#);
    }
}
