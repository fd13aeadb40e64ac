//! What is said of a policy, and which definitions it depends on. Pure.

use std::collections::BTreeSet;

use api::type_check::Warning;
use serde_json::{Value, json};

use crate::world::Definition;

/// What a policy names, by which it is found when a definition changes: groups; for the core group, whose rules are about
/// every group that has such a resource, `/` and the resource.
pub(crate) fn named(policy: &Value) -> BTreeSet<String> {
    let spec = &policy["spec"];
    let texts = |list: &Value| -> Vec<String> {
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut named = BTreeSet::new();
    let rules = spec["matchConstraints"]["resourceRules"].as_array();
    for rule in rules.into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            if group.is_empty() {
                let resources = texts(&rule["resources"]);
                named.extend(resources.iter().map(|name| format!("/{}", name.to_lowercase())));
            } else {
                named.insert(group);
            }
        }
    }
    let params = spec["paramKind"]["apiVersion"].as_str().unwrap_or_default();
    named.extend(params.split_once('/').map(|(group, _)| group.to_owned()));
    named
}

/// How policies may name what a definition defines.
pub(super) fn names_of(definition: &Definition) -> [String; 3] {
    [
        definition.group.clone(),
        format!("/{}", definition.plural),
        format!("/{}", definition.singular),
    ]
}

/// What the status should say.
pub(super) fn status(policy: &Value, warnings: &[Warning]) -> Value {
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|warning| json!({"fieldRef": warning.field_ref, "warning": warning.warning}))
        .collect();
    // Without warnings it is there all the same: that says that the check is done.
    let checked = match warnings.is_empty() {
        true => json!({}),
        false => json!({"expressionWarnings": warnings}),
    };
    json!({"observedGeneration": policy["metadata"]["generation"], "typeChecking": checked})
}

/// Whether a policy's status says that already.
pub(super) fn says(policy: &Value, status: &Value) -> bool {
    ["observedGeneration", "typeChecking"]
        .iter()
        .all(|key| policy["status"][key] == status[key])
}

/// What to apply.
pub(super) fn body(policy: &Value, status: Value) -> Value {
    json!({"apiVersion": policy["apiVersion"], "kind": policy["kind"],
        "metadata": {"name": policy["metadata"]["name"]}, "status": status})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_found_by_what_it_names() {
        let policy = json!({"spec": {"paramKind": {"apiVersion": "params.example.com/v1", "kind": "Limit"},
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps", "example.com"], "resources": ["things"]},
                {"apiGroups": [""], "resources": ["Pods", "events"]}]}}});
        let named: Vec<String> = named(&policy).into_iter().collect();
        assert_eq!(named, ["/events", "/pods", "apps", "example.com", "params.example.com"]);
        let definition = Definition {
            group: "other.example.com".to_owned(),
            plural: "events".to_owned(),
            singular: "event".to_owned(),
        };
        assert!(names_of(&definition).iter().any(|name| named.contains(name)));
        let core = json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}});
        assert!(super::named(&core).is_empty());
    }

    #[test]
    fn a_check_without_warnings_is_told_too() {
        let policy = json!({"apiVersion": "a/v1", "kind": "P", "metadata": {"name": "p", "generation": 2}});
        let clean = status(&policy, &[]);
        assert_eq!(clean, json!({"observedGeneration": 2, "typeChecking": {}}));
        assert!(!says(&policy, &clean));
        let mut told = policy.clone();
        told["status"] = json!({"observedGeneration": 2, "typeChecking": {}, "conditions": []});
        assert!(says(&told, &clean));
        let warning = Warning {
            field_ref: "spec.validations[0].expression".to_owned(),
            warning: "w".to_owned(),
        };
        let warned = status(&policy, &[warning]);
        assert!(!says(&told, &warned));
        assert_eq!(
            body(&policy, warned)["status"]["typeChecking"]["expressionWarnings"],
            json!([{"fieldRef": "spec.validations[0].expression", "warning": "w"}])
        );
    }
}
