//! What affinities, tolerations and spread constraints must be like.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::form;
use crate::rules::view::View as _;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks tolerations.
pub(crate) fn tolerations(tolerations: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = at.index(index);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            errors.form(&at.child("key"), key, form::qualified_name);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), operator, detail);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            errors.invalid(
                &at.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator {
            "" | "Equal" => {
                let reasons = form::label_value(value);
                if !reasons.is_empty() {
                    errors.invalid(&at.child("operator"), value, &reasons.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(
                    &at.child("operator"),
                    value,
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            errors.one_of(&at.child("effect"), effect, &EFFECTS);
        }
    }
}

/// Checks the affinity of a pod.
pub(super) fn affinity(affinity: &Value, at: &Path<'_>, errors: &mut Errors) {
    if affinity.is_null() {
        return;
    }
    let node = affinity.at("nodeAffinity");
    let at_node = at.child("nodeAffinity");
    if node.has(REQUIRED) {
        node_selector(node.at(REQUIRED), &at_node.child(REQUIRED), errors);
    }
    let preferred = at_node.child(PREFERRED);
    for (index, term) in node.list(PREFERRED).iter().enumerate() {
        let at = preferred.index(index);
        weight(term, &at, errors);
        node_term(term.at("preference"), &at.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (pods, at) = (affinity.at(kind), at.child(kind));
        let required = at.child(REQUIRED);
        for (index, term) in pods.list(REQUIRED).iter().enumerate() {
            pod_term(term, &required.index(index), errors);
        }
        let preferred = at.child(PREFERRED);
        for (index, term) in pods.list(PREFERRED).iter().enumerate() {
            let at = preferred.index(index);
            weight(term, &at, errors);
            pod_term(term.at("podAffinityTerm"), &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, at: &Path<'_>, errors: &mut Errors) {
    let weight = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

/// Checks a node selector: at least one term, each well-formed.
pub(crate) fn node_selector(selector: &Value, at: &Path<'_>, errors: &mut Errors) {
    let terms = selector.list("nodeSelectorTerms");
    let at = at.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&at, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, &at.index(index), errors);
    }
}

fn node_term(term: &Value, at: &Path<'_>, errors: &mut Errors) {
    let labels = at.child("matchExpressions");
    for (index, expression) in term.list("matchExpressions").iter().enumerate() {
        let at = labels.index(index);
        let values = expression.list("values");
        let at_values = at.child("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&at_values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(
                    &at_values,
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.required(
                    &at_values,
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        errors.form(&at.child("key"), expression.text("key"), form::qualified_name);
        for (index, value) in values.iter().enumerate() {
            errors.form(
                &at_values.index(index),
                value.as_str().unwrap_or_default(),
                form::label_value,
            );
        }
    }
    let fields = at.child("matchFields");
    for (index, expression) in term.list("matchFields").iter().enumerate() {
        let at = fields.index(index);
        match expression.text("operator") {
            "In" | "NotIn" if expression.list("values").len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(&at.child("values"), detail);
            }
            "In" | "NotIn" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        let key = expression.text("key");
        if key != "metadata.name" {
            errors.invalid(&at.child("key"), key, "not a valid field selector key");
            continue;
        }
        for (index, value) in expression.list("values").iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            errors.form(&at.child("values").index(index), value, form::dns_subdomain);
        }
    }
}

fn pod_term(term: &Value, at: &Path<'_>, errors: &mut Errors) {
    errors.selector(&at.child("labelSelector"), term.at("labelSelector"));
    errors.selector(&at.child("namespaceSelector"), term.at("namespaceSelector"));
    for namespace in term.list("namespaces") {
        errors.form(
            &at.child("namespace"),
            namespace.as_str().unwrap_or_default(),
            form::dns_label,
        );
    }
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.required(&at.child("topologyKey"), "can not be empty");
    }
    errors.form(&at.child("topologyKey"), key, form::qualified_name);
}

/// Checks spread constraints.
pub(super) fn spread(constraints: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, constraint) in constraints.iter().enumerate() {
        let at = at.index(index);
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let (key, action) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
        if key.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        }
        errors.one_of(
            &at.child("whenUnsatisfiable"),
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        let repeated = |other: &Value| other.text("topologyKey") == key && other.text("whenUnsatisfiable") == action;
        if constraints[index + 1..].iter().any(repeated) {
            let shown = format!("{{{key}, {action}}}");
            errors.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), shown);
        }
        if let Some(domains) = constraint.int("minDomains") {
            if domains <= 0 {
                errors.invalid(&at.child("minDomains"), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&at.child("minDomains"), domains, &detail);
            }
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.has(name) {
                errors.one_of(&at.child(name), constraint.text(name), &["Honor", "Ignore"]);
            }
        }
        errors.selector(&at.child("labelSelector"), constraint.at("labelSelector"));
    }
}
