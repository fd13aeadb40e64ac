//! One rule: operations, and resources by group, version, name and scope.

use serde_json::Value;

use crate::admission::Review;
use crate::kinds::Kind;
use crate::object::text;

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: String,
    /// The names of objects; none for all.
    names: Vec<String>,
}

/// Compiles a list of rules.
pub(crate) fn rules(list: &Value) -> Vec<Rule> {
    list.as_array().into_iter().flatten().map(Rule::compile).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    fn compile(rule: &Value) -> Rule {
        let list = |key: &str| -> Vec<String> {
            let items = rule[key].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let resources = list("resources")
            .into_iter()
            .map(|resource| match resource.split_once('/') {
                Some((resource, below)) => (resource.to_owned(), below.to_owned()),
                None => (resource, String::new()),
            });
        Rule {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: resources.collect(),
            scope: text(rule, &["scope"]).to_owned(),
            names: list("resourceNames"),
        }
    }

    /// Whether it means a request, whose resource is seen in this version.
    pub(crate) fn matches(&self, review: &Review<'_>, kind: &Kind) -> bool {
        self.could_match(review) && has(&self.groups, &kind.row.group) && has(&self.versions, &kind.row.version)
    }

    /// Whether it means a request in some group and version.
    pub(crate) fn could_match(&self, review: &Review<'_>) -> bool {
        let is_namespaces = review.kind.resource.resource == "namespaces" && review.kind.resource.group.is_empty();
        let of_cluster = is_namespaces || review.space().is_empty();
        let in_scope = match self.scope.as_str() {
            "" | "*" => true,
            "Namespaced" => !of_cluster,
            "Cluster" => of_cluster,
            _ => false,
        };
        in_scope
            && has(&self.operations, review.operation.as_str())
            && self.resources.iter().any(|(resource, below)| {
                (resource == "*" || *resource == review.kind.resource.resource)
                    && (below == "*" || below == review.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == review.name))
    }
}
