//! What a claim asks for and what it got; the classes that requests name.

use std::net::IpAddr;

use meta::Path;
use serde_json::{Value, json};

use super::super::check::Errors;
use super::super::view::{Edit as _, View as _, same};
use super::super::{form, pod};
use super::checks::{self, each, unique};
use crate::expression::Expression;

const MOST_REQUESTS: usize = 32;
const MOST_CONFIGURATIONS: usize = 32;
const MOST_SELECTORS: usize = 32;
const MOST_TOLERATIONS: usize = 16;
const LONGEST_EXPRESSION: usize = 10 << 10;

/// Fills in what requests leave out, and leaves out what only an alpha gate lets in.
pub(super) fn defaults(spec: &mut Value) {
    for request in spec.object("devices").each("requests") {
        if let Some(exactly) = request.there("exactly") {
            request_defaults(exactly);
        }
        request.each("firstAvailable").for_each(request_defaults);
    }
}

fn request_defaults(request: &mut Value) {
    request.drop("derivedAttributes");
    request.or_text("allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" {
        request.or_number("count", 1);
    }
    for toleration in request.each("tolerations") {
        toleration.or_text("operator", "Equal");
    }
}

/// The spec of a claim.
pub(super) fn spec(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (devices, at) = (spec.at("devices"), at.child("devices"));
    let (requests, at_requests) = (devices.list("requests"), at.child("requests"));
    each(requests, MOST_REQUESTS, &at_requests, errors, request);
    unique(requests, &at_requests, errors, name_of, Value::clone);
    let at_constraints = at.child("constraints");
    each(
        devices.list("constraints"),
        32,
        &at_constraints,
        errors,
        |item, at, errors| {
            constraint(item, requests, at, errors);
        },
    );
    let at_config = at.child("config");
    let config = devices.list("config");
    each(config, MOST_CONFIGURATIONS, &at_config, errors, |item, at, errors| {
        references(item, requests, at, errors);
        checks::opaque(item, false, at, errors);
    });
}

fn name_of(request: &Value) -> String {
    request.text("name").to_owned()
}

fn request(request: &Value, at: &Path<'_>, errors: &mut Errors) {
    request_name(request.text("name"), &at.child("name"), errors);
    let (alternatives, exactly) = (request.list("firstAvailable"), request.at("exactly"));
    match (alternatives, request.has("exactly")) {
        ([], false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            errors.required(at, detail);
        }
        ([_, ..], true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(at, Value::Null, detail);
        }
        ([], true) => wanted(exactly, &at.child("exactly"), errors),
        ([_, ..], false) => {
            let at = at.child("firstAvailable");
            each(alternatives, 8, &at, errors, |item, at, errors| {
                request_name(item.text("name"), &at.child("name"), errors);
                wanted(item, at, errors);
            });
            unique(alternatives, &at, errors, name_of, Value::clone);
        }
    }
}

fn request_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.form(at, name, form::dns_label);
}

/// What stands in a request and in each of its alternatives.
fn wanted(request: &Value, at: &Path<'_>, errors: &mut Errors) {
    let class = request.text("deviceClassName");
    errors.required_form(&at.child("deviceClassName"), class, form::dns_subdomain);
    selectors(request.list("selectors"), &at.child("selectors"), errors);
    let (count, at_count) = (request.int("count").unwrap_or(0), at.child("count"));
    match request.text("allocationMode") {
        "All" if count != 0 => {
            errors.invalid(&at_count, count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count <= 0 => errors.invalid(&at_count, count, "must be greater than zero"),
        "ExactCount" => {}
        other => errors.not_supported(&at.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let tolerations = request.list("tolerations");
    let at = at.child("tolerations");
    each(tolerations, MOST_TOLERATIONS, &at, errors, checks::toleration);
}

fn selectors(selectors: &[Value], at: &Path<'_>, errors: &mut Errors) {
    each(selectors, MOST_SELECTORS, at, errors, |selector, at, errors| {
        let at = at.child("cel");
        if !selector.has("cel") {
            errors.required(&at, "");
            return;
        }
        let (text, at) = (selector.at("cel").text("expression"), at.child("expression"));
        if text.len() > LONGEST_EXPRESSION {
            errors.too_long(&at, LONGEST_EXPRESSION);
        } else if let Err(why) = Expression::check_about(text, "device") {
            errors.invalid(&at, text, &why);
        }
    });
}

fn constraint(constraint: &Value, requests: &[Value], at: &Path<'_>, errors: &mut Errors) {
    references(constraint, requests, at, errors);
    let (same, distinct) = (constraint.has("matchAttribute"), constraint.has("distinctAttribute"));
    if same {
        let at = at.child("matchAttribute");
        checks::qualified(constraint.text("matchAttribute"), true, &at, errors);
    } else if distinct {
        let at = at.child("distinctAttribute");
        checks::qualified(constraint.text("distinctAttribute"), true, &at, errors);
    } else {
        let detail =
            r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
        errors.required(at, detail);
    }
}

/// The requests that something is about: names of the claim's own, with those of alternatives behind a slash.
fn references(owner: &Value, requests: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let (names, at) = (owner.list("requests"), at.child("requests"));
    each(names, MOST_REQUESTS, &at, errors, |name, at, errors| {
        reference(name.as_str().unwrap_or_default(), requests, at, errors);
    });
    unique(names, &at, errors, Value::clone, Value::clone);
}

fn reference(name: &str, requests: &[Value], at: &Path<'_>, errors: &mut Errors) {
    const DETAIL: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let segments: Vec<&str> = name.split('/').collect();
    if segments.len() > 2 {
        errors.invalid(at, name, DETAIL);
        return;
    }
    for segment in &segments {
        request_name(segment, at, errors);
    }
    let known = requests.iter().find(|request| request.text("name") == segments[0]);
    let known = known.is_some_and(|request| {
        let alternatives = request.list("firstAvailable");
        segments
            .get(1)
            .is_none_or(|name| alternatives.iter().any(|each| each.text("name") == *name))
    });
    if !known {
        errors.invalid(at, name, DETAIL);
    }
}

/// The spec of a class. What it had before is not compiled and not measured again.
pub(super) fn class(spec: &Value, old: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let stored = |name: &str| !old.is_null() && same(spec.at(name), old.at(name));
    if !stored("selectors") {
        selectors(spec.list("selectors"), &at.child("selectors"), errors);
    }
    let kept = stored("config");
    let (config, at_config) = (spec.list("config"), at.child("config"));
    each(config, MOST_CONFIGURATIONS, &at_config, errors, |item, at, errors| {
        checks::opaque(item, kept, at, errors);
    });
    if spec.has("extendedResourceName") {
        extended(
            spec.text("extendedResourceName"),
            &at.child("extendedResourceName"),
            errors,
        );
    }
}

/// The name of a resource of somebody else's, which a quota can count.
fn extended(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if !name.contains('/') {
        let detail = "a name must be a domain-prefixed path, such as 'example.com/my-prop'";
        errors.invalid(at, name, detail);
    } else if name.contains("kubernetes.io/") {
        errors.invalid(at, name, r#"must not have "kubernetes.io/" domain"#);
    }
    if name.starts_with("requests.") {
        errors.invalid(at, name, r#"must not have "requests." prefix"#);
    }
    errors.invalid_each(at, name, form::qualified_name(&format!("requests.{name}")));
}

/// What names a device that a claim got, or a share of it.
fn device_key(device: &Value) -> [String; 4] {
    ["driver", "pool", "device", "shareID"].map(|name| device.text(name).to_owned())
}

/// A device as Go prints its name.
fn device_name(device: &Value) -> Value {
    let [driver, pool, device, share] = device_key(device);
    json!({"Driver": driver, "Pool": pool, "Device": device, "ShareID": share})
}

/// What is told of devices goes with them.
pub(super) fn forget_deallocated(status: &mut Value, old: &Value) {
    let allocated = |status: &Value| -> Vec<[String; 4]> {
        let results = status.at("allocation").at("devices").list("results");
        results.iter().map(device_key).collect()
    };
    let (before, now) = (allocated(old), allocated(status));
    let gone = |device: &Value| {
        let key = device_key(device);
        before.contains(&key) && !now.contains(&key)
    };
    let kept: Vec<Value> = status
        .list("devices")
        .iter()
        .filter(|device| !gone(device))
        .cloned()
        .collect();
    if kept.is_empty() {
        status.drop("devices");
    } else {
        status.set("devices", kept);
    }
}

/// The status of a claim.
pub(super) fn status(claim: &Value, old: &Value, errors: &mut Errors) {
    let (status, at) = (claim.at("status"), Path::new("status"));
    let (users, at_users) = (status.list("reservedFor"), at.child("reservedFor"));
    each(users, 256, &at_users, errors, |user, at, errors| {
        for name in ["resource", "name", "uid"] {
            if user.lacks(name) {
                errors.required(&at.child(name), "");
            }
        }
    });
    unique(
        users,
        &at_users,
        errors,
        |user| user.text("uid").to_owned(),
        Value::clone,
    );
    let allocation = status.at("allocation");
    let results = allocation.at("devices").list("results");
    let (devices, at_devices) = (status.list("devices"), at.child("devices"));
    each(devices, usize::MAX, &at_devices, errors, |device, at, errors| {
        device_status(device, results, at, errors);
    });
    unique(devices, &at_devices, errors, device_key, device_name);
    if !users.is_empty() && allocation.is_null() {
        errors.forbidden(&at_users, "may not be specified when `allocated` is not set");
    } else if claim.at("metadata").has("deletionTimestamp")
        && !users.iter().all(|user| old.list("reservedFor").contains(user))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&at_users, detail);
    }
    let at = at.child("allocation");
    if old.has("allocation") && status.has("allocation") {
        if !same(allocation, old.at("allocation")) {
            errors.invalid(&at, Value::Null, "field cannot be modified once set");
        }
    } else if status.has("allocation") {
        let requests = claim.at("spec").at("devices").list("requests");
        allocated(allocation, requests, &at, errors);
    }
}

fn allocated(allocation: &Value, requests: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let (devices, at_devices) = (allocation.at("devices"), at.child("devices"));
    let at_results = at_devices.child("results");
    each(
        devices.list("results"),
        MOST_REQUESTS,
        &at_results,
        errors,
        |result, at, errors| {
            reference(result.text("request"), requests, &at.child("request"), errors);
            checks::any_case_driver(result.text("driver"), &at.child("driver"), errors);
            checks::declared_pool(result.text("pool"), &at.child("pool"), errors);
            device(result, at, errors);
            checks::binding_conditions(result, at, errors);
            let tolerations = at.child("tolerations");
            each(
                result.list("tolerations"),
                MOST_TOLERATIONS,
                &tolerations,
                errors,
                checks::toleration,
            );
        },
    );
    let at_config = at_devices.child("config");
    let config = devices.list("config");
    each(
        config,
        2 * MOST_CONFIGURATIONS,
        &at_config,
        errors,
        |item, at, errors| {
            match item.text("source") {
                "" => errors.required(&at.child("source"), ""),
                source => errors.one_of(&at.child("source"), source, &["FromClaim", "FromClass"]),
            }
            references(item, requests, at, errors);
            checks::opaque(item, false, at, errors);
        },
    );
    if allocation.has("nodeSelector") {
        let at = at.child("nodeSelector");
        pod::node_selector(allocation.at("nodeSelector"), &at, errors);
    }
}

/// The device in its pool.
fn device(device: &Value, at: &Path<'_>, errors: &mut Errors) {
    errors.form(&at.child("device"), device.text("device"), form::dns_label);
    if device.has("shareID") {
        checks::share(device.text("shareID"), &at.child("shareID"), errors);
    }
}

fn device_status(status: &Value, results: &[Value], at: &Path<'_>, errors: &mut Errors) {
    checks::driver(status.text("driver"), &at.child("driver"), errors);
    checks::pool(status.text("pool"), &at.child("pool"), errors);
    device(status, at, errors);
    if !results.iter().any(|result| device_key(result) == device_key(status)) {
        errors.invalid(at, device_name(status), "must be an allocated device in the claim");
    }
    let at_conditions = at.child("conditions");
    checks::few_conditions(status.list("conditions"), &at_conditions, errors);
    if status.has("data") {
        checks::data(status.at("data"), false, &at.child("data"), errors);
    }
    let (network, at) = (status.at("networkData"), at.child("networkData"));
    for (name, most) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if network.text(name).len() > most {
            errors.too_long(&at.child(name), most);
        }
    }
    let (addresses, at) = (network.list("ips"), at.child("ips"));
    each(addresses, 16, &at, errors, |address, at, errors| {
        let address = address.as_str().unwrap_or_default();
        match canonical(address) {
            None => {
                let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
                errors.invalid(at, address, detail);
            }
            Some(canonical) if canonical != address => {
                errors.invalid(at, address, &format!("must be in canonical form ({canonical:?})"));
            }
            Some(_) => {}
        }
    });
    unique(addresses, &at, errors, Value::clone, Value::clone);
}

/// An interface's address with the length of its prefix, in its usual form.
fn canonical(address: &str) -> Option<String> {
    let (ip, length) = address.split_once('/')?;
    let (ip, length) = (ip.parse().ok().or_else(|| with_zeros(ip))?, length.parse::<u8>().ok()?);
    (length <= if ip.is_ipv4() { 32 } else { 128 }).then(|| format!("{ip}/{length}"))
}

/// An address of version 4 whose numbers may begin with zeros, as Go's older reading has it.
fn with_zeros(ip: &str) -> Option<IpAddr> {
    let numbers: Option<Vec<u8>> = ip.split('.').map(|number| number.parse().ok()).collect();
    let numbers: [u8; 4] = numbers?.try_into().ok()?;
    Some(IpAddr::from(numbers))
}
