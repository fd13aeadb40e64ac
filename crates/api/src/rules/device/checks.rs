//! What the kinds of devices have in common: names, taints, tolerations, configuration.

use meta::Path;
use serde_json::Value;

use super::super::check::Errors;
use super::super::view::{Edit as _, View as _};
use super::super::{conditions, form};

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
/// The longest opaque configuration and status data, in bytes.
const MOST_DATA: usize = 10 << 10;

/// Looks at each item, unless there are too many.
pub(super) fn each(
    list: &[Value],
    most: usize,
    at: &Path<'_>,
    errors: &mut Errors,
    mut check: impl FnMut(&Value, &Path<'_>, &mut Errors),
) {
    if list.len() > most {
        errors.too_many(at, list.len(), most);
        return;
    }
    for (index, item) in list.iter().enumerate() {
        check(item, &at.index(index), errors);
    }
}

/// No two items may have the same key.
pub(super) fn unique<K: PartialEq>(
    list: &[Value],
    at: &Path<'_>,
    errors: &mut Errors,
    key: impl Fn(&Value) -> K,
    told: impl Fn(&Value) -> Value,
) {
    for (index, item) in list.iter().enumerate() {
        if list[..index].iter().any(|earlier| key(earlier) == key(item)) {
            errors.duplicate(&at.index(index), told(item));
        }
    }
}

/// The name of a driver: a domain, in any case, of at most 63 bytes.
pub(super) fn driver(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name.len() > 63 {
        errors.too_long(at, 63);
    }
    errors.invalid_each(at, name, form::dns_subdomain(&name.to_lowercase()));
}

/// The same where Kubernetes declares the rule, and says that the case doesn't matter.
pub(super) fn any_case_driver(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.0.len();
    driver(name, at, errors);
    for error in &mut errors.0[before..] {
        error.detail = error
            .detail
            .replace(
                "a lowercase RFC 1123 subdomain must consist of lower case",
                "an RFC 1123 subdomain must consist of",
            )
            .replace("e.g. 'example.com'", "e.g. 'Example.com'");
    }
}

/// The name of a pool where Kubernetes declares the rule: each part is told by its place.
pub(super) fn declared_pool(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name.len() > 253 {
        errors.too_long(at, 253);
    }
    for (place, part) in name.split('/').enumerate() {
        if part.is_empty() {
            errors.invalid(at, name, &format!("segment {place}: must not be empty"));
            continue;
        }
        let reasons = form::dns_subdomain(part);
        errors.invalid_each(at, part, reasons.iter().map(|why| format!("segment {place}: {why}")));
    }
}

/// The name of a pool: domains with slashes between.
pub(super) fn pool(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name.len() > 253 {
        errors.too_long(at, 253);
    }
    for part in name.split('/') {
        errors.invalid_each(at, part, form::dns_subdomain(part));
    }
}

/// `DOMAIN/ID`, or `ID` where the domain may be left out.
pub(super) fn qualified(name: &str, with_domain: bool, at: &Path<'_>, errors: &mut Errors) {
    let identifier = |id: &str, errors: &mut Errors| {
        if id.len() > 32 {
            errors.too_long(at, 32);
        }
        let start = id.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !start || !id.chars().all(|each| each.is_ascii_alphanumeric() || each == '_') {
            let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                validation is '[A-Za-z_][A-Za-z0-9_]*')";
            errors.invalid(at, id, detail);
        }
    };
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.invalid(at, "", "the domain must not be empty");
            } else {
                driver(domain, at, errors);
            }
            if id.is_empty() {
                errors.invalid(at, "", "the name must not be empty");
            } else {
                identifier(id, errors);
            }
        }
        // More slashes are let through, as Kubernetes does.
        _ => {}
    }
    if with_domain && parts.len() < 2 {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(at, name, detail);
    }
}

/// A share of a device: a UUID in its usual form.
pub(super) fn share(id: &str, at: &Path<'_>, errors: &mut Errors) {
    let shape = id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let hexadecimal = |each: char| matches!(each, '0'..='9' | 'a'..='f' | '-');
    if !shape || !id.chars().all(hexadecimal) {
        errors.invalid(at, id, "must be a lowercase UUID in 8-4-4-4-12 format");
    }
}

/// Notes since when there is a taint.
pub(super) fn time_added(taint: &mut Value) {
    taint.or_text("timeAdded", &meta::time::now());
}

/// A taint of a device; an effect that was there before is not looked at again.
pub(super) fn taint(taint: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
    errors.form(&at.child("key"), key, form::qualified_name);
    errors.form(&at.child("value"), value, form::label_value);
    if old.is_null() || old.text("effect") != effect {
        let at = at.child("effect");
        match effect {
            "" => errors.required(&at, ""),
            effect => errors.one_of(&at, effect, &EFFECTS),
        }
    }
}

/// The spec of a rule that taints devices.
pub(super) fn taint_rule(spec: &Value, old: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let (selector, at_selector) = (spec.at("deviceSelector"), at.child("deviceSelector"));
    if selector.has("driver") {
        driver(selector.text("driver"), &at_selector.child("driver"), errors);
    }
    if selector.has("pool") {
        pool(selector.text("pool"), &at_selector.child("pool"), errors);
    }
    if selector.has("device") {
        let device = selector.text("device");
        errors.form(&at_selector.child("device"), device, form::dns_label);
    }
    taint(spec.at("taint"), old.at("taint"), &at.child("taint"), errors);
}

/// A toleration of taints.
pub(super) fn toleration(toleration: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (key, value) = (toleration.text("key"), toleration.text("value"));
    if !key.is_empty() {
        errors.form(&at.child("key"), key, form::qualified_name);
    }
    match toleration.text("operator") {
        "Exists" if !value.is_empty() => {
            errors.invalid(&at.child("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => errors.form(&at.child("value"), value, form::label_value),
        "" => errors.required(&at.child("operator"), ""),
        other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
    }
    let effect = toleration.text("effect");
    if !effect.is_empty() {
        errors.one_of(&at.child("effect"), effect, &EFFECTS);
    }
}

/// The conditions that a device waits for before a pod is bound, and those that make it fail.
pub(super) fn binding_conditions(owner: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (wanted, failures) = (owner.list("bindingConditions"), owner.list("bindingFailureConditions"));
    let (at_wanted, at_failures) = (at.child("bindingConditions"), at.child("bindingFailureConditions"));
    let name = |item: &Value, at: &Path<'_>, errors: &mut Errors| {
        errors.form(at, item.as_str().unwrap_or_default(), form::qualified_name);
    };
    for (list, at) in [(wanted, &at_wanted), (failures, &at_failures)] {
        each(list, 4, at, errors, name);
        unique(list, at, errors, Value::clone, Value::clone);
    }
    for (index, failure) in failures.iter().enumerate() {
        if wanted.contains(failure) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            errors.invalid(&at_failures.index(index), failure.clone(), detail);
        }
    }
    match (wanted, failures) {
        ([], [_, ..]) => {
            let detail = "bindingConditions are required to use bindingFailureConditions";
            errors.invalid(&at_wanted, Value::Null, detail);
        }
        ([_, ..], []) => {
            let detail = "bindingFailureConditions are required to use bindingConditions";
            errors.invalid(&at_failures, Value::Null, detail);
        }
        _ => {}
    }
}

/// What a driver is told and nobody else reads: an object of at most 10 KiB. What is stored is not measured again.
pub(super) fn opaque(owner: &Value, stored: bool, at: &Path<'_>, errors: &mut Errors) {
    let (at, opaque) = (at.child("opaque"), owner.at("opaque"));
    if !owner.has("opaque") {
        errors.required(&at, "");
        return;
    }
    any_case_driver(opaque.text("driver"), &at.child("driver"), errors);
    data(opaque.at("parameters"), stored, &at.child("parameters"), errors);
}

/// An object of at most 10 KiB.
pub(super) fn data(data: &Value, stored: bool, at: &Path<'_>, errors: &mut Errors) {
    if data.is_null() {
        errors.required(at, "");
    } else if !stored && data.to_string().len() > MOST_DATA {
        errors.too_long(at, MOST_DATA);
    } else if !data.is_object() {
        errors.invalid(at, "<value omitted>", "must be a valid JSON object");
    }
}

/// Conditions, at most 8 of them.
pub(super) fn few_conditions(list: &[Value], at: &Path<'_>, errors: &mut Errors) {
    if list.len() > 8 {
        errors.too_many(at, list.len(), 8);
    }
    conditions::check(list, at, errors);
}
