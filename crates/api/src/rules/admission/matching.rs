//! What webhooks and policies are alike in: rules about resources, selectors, match conditions.

use std::collections::BTreeSet;

use meta::Path;
use serde_json::{Value, json};

use crate::expression::{Declared, Expression, Type};
use crate::rules::check::Errors;
use crate::rules::form;
use crate::rules::view::{Edit as _, View as _};

pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
pub(super) const REINVOCATION: [&str; 2] = ["IfNeeded", "Never"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const MOST_CONDITIONS: usize = 64;

/// Fills in what `matchConstraints`, `matchResources` and a webhook have in common.
pub(super) fn default(matching: &mut Value) {
    matching.or("matchPolicy", "Equivalent");
    matching.or("namespaceSelector", json!({}));
    matching.or("objectSelector", json!({}));
}

/// Fills in the scope of rules.
pub(super) fn default_rules(owner: &mut Value, key: &str) {
    for rule in owner.each(key) {
        rule.or("scope", "*");
    }
}

/// A rule with operations.
pub(super) fn rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let operations = rule.list("operations");
    let list = at.child("operations");
    if operations.is_empty() {
        errors.required(&list, "");
    }
    if operations.len() > 1 && has_wildcard(operations) {
        let why = "if '*' is present, must not specify other operations";
        errors.invalid(&list, rule.at("operations").clone(), why);
    }
    for (index, operation) in operations.iter().enumerate() {
        errors.one_of(&list.index(index), operation.as_str().unwrap_or_default(), &OPERATIONS);
    }
    for (key, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let (list, at) = (rule.list(key), at.child(key));
        if list.is_empty() {
            errors.required(&at, "");
        }
        if list.len() > 1 && has_wildcard(list) {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.invalid(&at, rule.at(key).clone(), &why);
        }
        if key == "apiVersions" {
            for (index, _) in list.iter().enumerate().filter(|(_, version)| *version == "") {
                errors.required(&at.index(index), "");
            }
        }
    }
    resources(rule, &at.child("resources"), errors);
    if rule.has("scope") {
        errors.one_of(&at.child("scope"), rule.text("scope"), &SCOPES);
    }
}

fn has_wildcard(list: &[Value]) -> bool {
    list.iter().any(|item| item == "*")
}

fn resources(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let list = rule.list("resources");
    if list.is_empty() {
        errors.required(at, "");
    }
    let (mut all_below, mut below_all) = (BTreeSet::new(), BTreeSet::new());
    let mut last_is_plain = false;
    for (index, item) in list.iter().enumerate() {
        let (text, at) = (item.as_str().unwrap_or_default(), at.index(index));
        if text.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let Some((resource, below)) = text.split_once('/') else {
            last_is_plain = text != "*";
            continue;
        };
        if all_below.contains(resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            errors.invalid(&at, text, &why);
        }
        if below_all.contains(below) {
            errors.invalid(
                &at,
                text,
                &format!("if '*/{below}' is present, must not specify {text}"),
            );
        }
        if below == "*" {
            all_below.insert(resource);
        }
        if resource == "*" {
            below_all.insert(below);
        }
    }
    if list.len() > 1 && list.iter().any(|item| item == "*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.invalid(at, rule.at("resources").clone(), why);
    }
    if has_wildcard(list) && last_is_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, rule.at("resources").clone(), why);
    }
}

/// `matchConstraints` of a policy, `matchResources` of a binding.
pub(super) fn match_resources(matching: &Value, at: &Path<'_>, errors: &mut Errors) {
    match matching.text("matchPolicy") {
        "" => errors.required(&at.child("matchPolicy"), ""),
        policy => errors.one_of(&at.child("matchPolicy"), policy, &MATCH_POLICIES),
    }
    for key in ["namespaceSelector", "objectSelector"] {
        if matching.has(key) {
            errors.selector(&at.child(key), matching.at(key));
        } else {
            errors.required(&at.child(key), "");
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        let list = at.child(key);
        for (index, one) in matching.list(key).iter().enumerate() {
            let at = list.index(index);
            let names = at.child("resourceNames");
            let mut seen = BTreeSet::new();
            for (index, name) in one.list("resourceNames").iter().enumerate() {
                let (name, at) = (name.as_str().unwrap_or_default(), names.index(index));
                errors.invalid_each(&at, name, form::path_segment(name));
                if !seen.insert(name) {
                    errors.duplicate(&at, name);
                }
            }
            rule(one, &at, errors);
        }
    }
}

/// `matchConditions`.
pub(super) fn conditions(conditions: &[Value], params: bool, at: &Path<'_>, errors: &mut Errors) {
    if conditions.len() > MOST_CONDITIONS {
        errors.too_many(at, conditions.len(), MOST_CONDITIONS);
    }
    let declared = Declared {
        params,
        authorizer: true,
        ..Declared::default()
    };
    let mut names = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let at = at.index(index);
        let text = condition.text("expression").trim();
        let expression = at.child("expression");
        if text.is_empty() {
            errors.required(&expression, "");
        } else if let Err(why) = Expression::compile_to(text, &declared, &[Type::Bool]) {
            errors.invalid(&expression, text, &why);
        }
        let name = condition.text("name");
        if name.is_empty() {
            errors.required(&at.child("name"), "");
            continue;
        }
        errors.form(&at.child("name"), name, form::qualified_name);
        if !names.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
}
