//! What a driver offers: the devices of a pool, on a node or elsewhere, and the counters that they share.

use meta::{Path, Quantity};
use serde_json::Value;

use super::super::check::Errors;
use super::super::view::{Edit as _, View as _, same};
use super::super::{form, pod, resources};
use super::checks::{self, each, unique};

const MOST_DEVICES: usize = 128;
/// With taints or counters, which cost more.
const MOST_ADVANCED_DEVICES: usize = 64;
const MOST_FACTS: usize = 32;
const MOST_COUNTERS: usize = 32;
const LONGEST_VALUE: usize = 64;
/// The kinds of values that an attribute may have.
const VALUES: [&str; 8] = [
    "int", "bool", "string", "version", "ints", "bools", "strings", "versions",
];

/// Leaves out what only an alpha gate lets in, and notes since when there are taints.
pub(super) fn defaults(spec: &mut Value) {
    spec.drop("partitionTypeAttribute");
    spec.drop("skipNodeOperations");
    for device in spec.each("devices") {
        device.drop("nodeAllocatableResources");
        for consumption in device.each("consumesCounters") {
            consumption.drop("compatibilityGroups");
        }
        device.each("taints").for_each(checks::time_added);
    }
}

/// The spec of a slice.
pub(super) fn spec(spec: &Value, old: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    checks::driver(spec.text("driver"), &at.child("driver"), errors);
    pool(spec.at("pool"), &at.child("pool"), errors);
    if !old.is_null() {
        let at_name = at.child("pool");
        let (now, before) = (spec.at("pool").at("name"), old.at("pool").at("name"));
        errors.immutable(&at_name.child("name"), now, before);
        for name in ["driver", "nodeName"] {
            errors.immutable(&at.child(name), spec.at(name), old.at(name));
        }
    }
    let whole = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let set = places(
        spec,
        &whole,
        "must be either unset or set to a non-empty string",
        &at,
        errors,
    );
    let terms = spec.at("nodeSelector").list("nodeSelectorTerms");
    if spec.has("nodeSelector") && terms.len() != 1 {
        let at = at.child("nodeSelector");
        let detail = "must have exactly one node selector term";
        errors.invalid(&at.child("nodeSelectorTerms"), terms.to_vec(), detail);
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    exactly_one(&set, detail, ", but multiple fields are set", &at, errors);
    if spec.has("sharedCounters") && spec.has("devices") {
        errors.invalid(&at, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    devices(spec, old, &at, errors);
    let (sets, at) = (spec.list("sharedCounters"), at.child("sharedCounters"));
    each(sets, 8, &at, errors, |set, at, errors| {
        counters(set, "name", at, errors)
    });
    unique(sets, &at, errors, |set| set.text("name").to_owned(), Value::clone);
}

fn pool(pool: &Value, at: &Path<'_>, errors: &mut Errors) {
    checks::pool(pool.text("name"), &at.child("name"), errors);
    let count = pool.int("resourceSliceCount").unwrap_or(0);
    if count <= 0 {
        errors.invalid(&at.child("resourceSliceCount"), count, "must be greater than zero");
    }
    let generation = pool.int("generation").unwrap_or(0);
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.invalid(&at.child("generation"), generation, detail);
    }
}

/// Which of these say where devices are, each checked.
fn places(owner: &Value, names: &[&str], empty: &str, at: &Path<'_>, errors: &mut Errors) -> Vec<String> {
    let mut set = Vec::new();
    for name in names.iter().filter(|name| owner.has(name)) {
        let at = at.child(name);
        match *name {
            "nodeName" => {
                let node = owner.text(name);
                if node.is_empty() {
                    errors.invalid(&at, node, empty);
                    continue;
                }
                errors.form(&at, node, form::dns_subdomain);
            }
            "nodeSelector" => pod::node_selector(owner.at(name), &at, errors),
            name => {
                if !owner.is(name) {
                    errors.invalid(&at, false, "must be either unset or set to true");
                    continue;
                }
            }
        }
        set.push(format!("`{name}`"));
    }
    set
}

fn exactly_one(set: &[String], detail: &str, too_many: &str, at: &Path<'_>, errors: &mut Errors) {
    match set.len() {
        0 => errors.required(at, detail),
        1 => {}
        _ => errors.invalid(at, format!("{{{}}}", set.join(", ")), &format!("{detail}{too_many}")),
    }
}

fn devices(spec: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (devices, at) = (spec.list("devices"), at.child("devices"));
    let advanced = |device: &Value| !device.list("taints").is_empty() || !device.list("consumesCounters").is_empty();
    let most = if devices.iter().any(advanced) {
        MOST_ADVANCED_DEVICES
    } else {
        MOST_DEVICES
    };
    if devices.len() > most {
        errors.too_many(&at, devices.len(), most);
        return;
    }
    let apart = spec.is("perDeviceNodeSelection");
    for (index, item) in devices.iter().enumerate() {
        let name = item.text("name");
        let before = old.list("devices").iter().find(|before| before.text("name") == name);
        device(item, before.unwrap_or(&Value::Null), apart, &at.index(index), errors);
    }
    let name = |device: &Value| device.text("name").to_owned();
    unique(devices, &at, errors, name, |device| device.text("name").into());
}

fn device(device: &Value, old: &Value, apart: bool, at: &Path<'_>, errors: &mut Errors) {
    errors.form(&at.child("name"), device.text("name"), form::dns_label);
    let count = |name: &str| device.map(name).map_or(0, serde_json::Map::len);
    let facts = count("attributes") + count("capacity");
    if facts > MOST_FACTS {
        let detail = format!("the total number of attributes and capacities must not exceed {MOST_FACTS}");
        errors.invalid(at, facts, &detail);
    }
    let at_attributes = at.child("attributes");
    for (name, value) in device.map("attributes").into_iter().flatten() {
        checks::qualified(name, false, &at_attributes, errors);
        attribute(value, &at_attributes.key(name), errors);
    }
    if old.is_null() || !same(old.at("capacity"), device.at("capacity")) {
        let at = at.child("capacity");
        for (name, value) in device.map("capacity").into_iter().flatten() {
            checks::qualified(name, false, &at, errors);
            capacity(value, device.is("allowMultipleAllocations"), &at.key(name), errors);
        }
    }
    if old.is_null() || !same(old.at("taints"), device.at("taints")) {
        each(
            device.list("taints"),
            16,
            &at.child("taints"),
            errors,
            |taint, at, errors| {
                checks::taint(taint, &Value::Null, at, errors);
            },
        );
    }
    let (consumed, at_consumed) = (device.list("consumesCounters"), at.child("consumesCounters"));
    each(consumed, 2, &at_consumed, errors, |set, at, errors| {
        counters(set, "counterSet", at, errors)
    });
    unique(
        consumed,
        &at_consumed,
        errors,
        |set| set.text("counterSet").to_owned(),
        Value::clone,
    );
    place(device, apart, at, errors);
    checks::binding_conditions(device, at, errors);
}

/// Where one device is, when the slice leaves that to its devices.
fn place(device: &Value, apart: bool, at: &Path<'_>, errors: &mut Errors) {
    let names = ["nodeName", "nodeSelector", "allNodes"];
    if apart {
        let set = places(device, &names, "must not be empty", at, errors);
        let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
            `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        exactly_one(&set, detail, "", at, errors);
    } else if names.iter().any(|name| device.has(name)) {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
            true in the ResourceSlice spec";
        errors.invalid(at, Value::Null, detail);
    }
}

/// A set of counters, or what a device takes of one.
fn counters(set: &Value, name: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.required_form(&at.child(name), set.text(name), form::dns_label);
    let (counters, at) = (set.map("counters"), at.child("counters"));
    let count = counters.map_or(0, serde_json::Map::len);
    if count == 0 {
        errors.required(&at, "");
    } else if count > MOST_COUNTERS {
        errors.too_many(&at, count, MOST_COUNTERS);
        return;
    }
    for name in counters.into_iter().flat_map(serde_json::Map::keys) {
        errors.form(&at, name, form::dns_label);
    }
}

fn attribute(value: &Value, at: &Path<'_>, errors: &mut Errors) {
    for name in ["string", "version"].into_iter().filter(|name| value.has(name)) {
        let (text, at) = (value.text(name), at.child(name));
        if name == "version" && !is_semantic_version(text) {
            errors.invalid(&at, text, "must be a string compatible with semver.org spec 2.0.0");
        }
        if text.len() > LONGEST_VALUE {
            errors.too_long(&at, LONGEST_VALUE);
        }
    }
    let set: Vec<&str> = VALUES.into_iter().filter(|name| value.has(name)).collect();
    let known = VALUES.map(|name| format!("`{name}`")).join(", ");
    match set[..] {
        [] => errors.invalid(at, "", &format!("must specify one of: {known}")),
        [_] => {}
        _ => {
            let set = format!("{{{}}}", set.join(", "));
            errors.invalid(at, set, &format!("must specify exactly one of: {known}"));
        }
    }
}

/// `MAJOR.MINOR.PATCH`, with a pre-release after a minus and a build after a plus.
fn is_semantic_version(text: &str) -> bool {
    let word = |text: &str| !text.is_empty() && text.chars().all(|each| each.is_ascii_alphanumeric() || each == '-');
    let digits = |text: &str| !text.is_empty() && text.chars().all(|each| each.is_ascii_digit());
    let number = |text: &str| digits(text) && (text == "0" || !text.starts_with('0'));
    let (text, build) = text
        .split_once('+')
        .map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, before) = text
        .split_once('-')
        .map_or((text, None), |(core, before)| (core, Some(before)));
    let numbers: Vec<&str> = core.split('.').collect();
    let released = |before: &str| {
        before
            .split('.')
            .all(|part| if digits(part) { number(part) } else { word(part) })
    };
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && before.is_none_or(released)
        && build.is_none_or(|build| build.split('.').all(word))
}

fn capacity(capacity: &Value, shared: bool, at: &Path<'_>, errors: &mut Errors) {
    if !capacity.has("requestPolicy") {
        return;
    }
    let (policy, at) = (capacity.at("requestPolicy"), at.child("requestPolicy"));
    let (values, range) = (policy.list("validValues"), policy.at("validRange"));
    let most = resources::quantity(capacity, "value").unwrap_or_else(|| Quantity::from_millis(0));
    let default = resources::quantity(policy, "default");
    if !shared {
        errors.forbidden(&at, "allowMultipleAllocations must be true");
    } else if !values.is_empty() && policy.has("validRange") {
        let detail =
            r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
        errors.forbidden(&at, detail);
    } else if !values.is_empty() {
        match default {
            None => errors.required(&at.child("default"), "required when validValues is defined"),
            Some(default) => choices(values, default, most, &at.child("validValues"), errors),
        }
    } else if policy.has("validRange") {
        match default {
            None => errors.required(&at.child("default"), "required when validRange is defined"),
            Some(default) => self::range(range, default, most, &at.child("validRange"), errors),
        }
    }
}

/// The amounts that may be asked for, one by one.
fn choices(values: &[Value], default: Quantity, most: Quantity, at: &Path<'_>, errors: &mut Errors) {
    let amounts: Vec<Quantity> = values.iter().filter_map(resources::parse).collect();
    for (index, pair) in amounts.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let detail = "values must be sorted in ascending order";
            errors.invalid(&at.index(index + 1), pair[1].to_string(), detail);
        }
    }
    each(values, 10, at, errors, |value, at, errors| {
        if let Some(amount) = resources::parse(value)
            && amount > most
        {
            let detail = format!("option is larger than capacity value: {most}");
            errors.invalid(at, amount.to_string(), &detail);
        }
    });
    unique(values, at, errors, resources::parse, Value::clone);
    if !amounts.contains(&default) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.invalid(at, default.to_string(), detail);
    }
}

/// The amounts that may be asked for, from one to another.
fn range(range: &Value, default: Quantity, most: Quantity, at: &Path<'_>, errors: &mut Errors) {
    let Some(least) = resources::quantity(range, "min") else {
        errors.required(&at.child("min"), "required when validRange is defined");
        return;
    };
    let mut wrong = |name: &str, amount: Quantity, detail: String| {
        errors.invalid(&at.child(name), amount.to_string(), &detail);
    };
    if least > most {
        wrong("min", least, format!("min is larger than capacity value: {most}"));
    }
    if default < least {
        wrong("default", default, format!("default is less than min: {least}"));
    }
    let highest = resources::quantity(range, "max");
    if let Some(highest) = highest {
        if least > highest {
            wrong("max", least, format!("min is larger than max: {highest}"));
        }
        if highest > most {
            wrong("max", highest, format!("max is larger than capacity value: {most}"));
        }
        if default > highest {
            wrong("default", default, format!("default is more than max: {highest}"));
        }
    }
    let Some(step) = resources::quantity(range, "step") else {
        return;
    };
    if step.is_negative() || step.is_zero() {
        wrong("step", step, "must be greater than zero".to_owned());
        return;
    }
    let first = least + step;
    if first > most {
        wrong(
            "step",
            step,
            format!("one step {first} is larger than capacity value: {most}"),
        );
    }
    for amount in [Some(default), highest].into_iter().flatten() {
        if (amount.millis() - least.millis()) % step.millis() != 0 {
            let detail = format!("value is not a multiple of a given step ({step}) from ({least})");
            wrong("step", amount, detail);
        }
    }
}
