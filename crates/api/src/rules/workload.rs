//! What Deployments, ReplicaSets, DaemonSets, StatefulSets and the other owners of pods have in common.

use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::metadata;
use super::pod::{self, PodForm};
use super::selector;
use super::view::View as _;

/// Checks the selector of a controller: there, well-formed, not empty.
pub(crate) fn selector(spec: &Value, at: &Path<'_>, kind: &str, errors: &mut Errors) {
    let at = at.child("selector");
    let selector = spec.at("selector");
    if selector.is_null() {
        errors.required(&at, "");
        return;
    }
    errors.selector(&at, selector);
    if selector::is_empty(selector) {
        errors.invalid(&at, selector.clone(), &format!("empty selector is invalid for {kind}"));
    }
}

/// Checks the template of a controller whose pods run for ever: its labels match, it restarts always, it has no deadline.
pub(crate) fn template(spec: &Value, at: &Path<'_>, owner: &str, errors: &mut Errors) {
    let template = spec.at("template");
    if !selector::is_valid(spec.at("selector")) {
        errors.invalid(
            &at.child("selector"),
            spec.at("selector").clone(),
            "invalid label selector",
        );
        return;
    }
    let at = at.child("template");
    matching_labels(spec.at("selector"), template, &at, errors);
    pod::template(template, &at, PodForm::Template, errors);
    runs_for_ever(template.at("spec"), &at.child("spec"), owner, errors);
}

/// The template's labels must be what the selector looks for.
pub(crate) fn matching_labels(selector: &Value, template: &Value, at: &Path<'_>, errors: &mut Errors) {
    // No selector at all selects nothing; an empty one selects everything.
    if !selector.is_null() && (selector::is_empty(selector) || !selector::is_valid(selector)) {
        return;
    }
    let labels = template.at("metadata").at("labels");
    if selector.is_null() || !selector::matches(selector, labels) {
        let shown = if labels.is_null() { Value::Null } else { labels.clone() };
        errors.invalid(
            &at.child("metadata").child("labels"),
            shown,
            "`selector` does not match template `labels`",
        );
    }
}

/// The pods must be restarted always, and have no deadline.
pub(crate) fn runs_for_ever(pod_spec: &Value, at: &Path<'_>, owner: &str, errors: &mut Errors) {
    let policy = pod_spec.text("restartPolicy");
    if policy != "Always" {
        errors.not_supported(&at.child("restartPolicy"), policy, &["Always"]);
    }
    if pod_spec.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.forbidden(&at.child("activeDeadlineSeconds"), &detail);
    }
}

/// Numbers that must not be negative.
pub(crate) fn not_negative(object: &Value, at: &Path<'_>, names: &[&str], errors: &mut Errors) {
    for name in names {
        errors.not_negative(&at.child(name), object.int(name));
    }
}

/// A status: the metadata is updated as always, counters aren't negative, and none exceeds the one it is part of.
pub(crate) fn status(object: &Value, old: &Value, counters: &[&str], parts: &[(&str, &str, &str)]) -> Vec<FieldError> {
    let mut errors = Errors::default();
    metadata::update(object, old, &mut errors);
    let (status, root) = (object.at("status"), Path::new("status"));
    not_negative(status, &root, counters, &mut errors);
    for (part, whole, detail) in parts {
        let (part_value, whole_value) = (status.int(part).unwrap_or(0), status.int(whole).unwrap_or(0));
        if part_value > whole_value {
            errors.invalid(&root.child(part), part_value, detail);
        }
    }
    let (new, before) = (status.int("collisionCount"), old.at("status").int("collisionCount"));
    if before.is_some() && new.unwrap_or(-1) < before.unwrap_or(0) {
        errors.invalid(&root.child("collisionCount"), new.unwrap_or(0), "cannot be decremented");
    }
    errors.0
}

/// An amount or a share: `3` or `25%`.
pub(crate) fn amount_or_percent(at: &Path<'_>, value: &Value, errors: &mut Errors) {
    match value {
        Value::String(text) => errors.invalid_each(at, text, super::form::percent(text)),
        other => errors.not_negative(at, Some(other.as_i64().unwrap_or(0))),
    }
}

/// The number before the `%`, or the number itself.
pub(crate) fn amount(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse().unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

/// A share must not be more than everything.
pub(crate) fn at_most_all(at: &Path<'_>, value: &Value, errors: &mut Errors) {
    if value.as_str().is_some_and(|text| text.ends_with('%')) && amount(value) > 100 {
        errors.invalid(at, value.clone(), "must not be greater than 100%");
    }
}
