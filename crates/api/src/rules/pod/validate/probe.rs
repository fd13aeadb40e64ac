//! What probes and lifecycle hooks must be like.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::form;
use crate::rules::view::View as _;

/// Checks the three probes and the lifecycle of a container.
pub(super) fn check_all(container: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    lifecycle(container.at("lifecycle"), grace, &at.child("lifecycle"), errors);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.at(name);
        if probe.is_null() {
            continue;
        }
        let at = at.child(name);
        check(probe, &at, errors);
        if name == "readinessProbe" {
            if let Some(seconds) = probe.int("terminationGracePeriodSeconds") {
                let detail = "must not be set for readinessProbes";
                errors.invalid(&at.child("terminationGracePeriodSeconds"), seconds, detail);
            }
        } else if let Some(threshold) = probe.int("successThreshold")
            && threshold != 1
        {
            errors.invalid(&at.child("successThreshold"), threshold, "must be 1");
        }
    }
}

fn check(probe: &Value, at: &Path<'_>, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, at, errors);
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        errors.not_negative(&at.child(name), probe.int(name));
    }
    if let Some(seconds) = probe.int("terminationGracePeriodSeconds")
        && seconds <= 0
    {
        errors.invalid(
            &at.child("terminationGracePeriodSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
}

fn lifecycle(lifecycle: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    for name in ["postStart", "preStop"] {
        let hook = lifecycle.at(name);
        if !hook.is_null() {
            handler(
                hook,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                grace,
                &at.child(name),
                errors,
            );
        }
    }
}

fn handler(owner: &Value, kinds: &[&str], grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let mut first = true;
    for kind in kinds {
        let action = owner.at(kind);
        if action.is_null() {
            continue;
        }
        let at = at.child(kind);
        if !first {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        first = false;
        match *kind {
            "exec" => {
                if action.list("command").is_empty() {
                    errors.required(&at.child("command"), "");
                }
            }
            "httpGet" => http_get(action, &at, errors),
            "sleep" => sleep(action, grace, &at, errors),
            _ => port(action.at("port"), &at.child("port"), errors),
        }
    }
    if first {
        errors.required(at, "must specify a handler type");
    }
}

fn http_get(action: &Value, at: &Path<'_>, errors: &mut Errors) {
    if action.lacks("path") {
        errors.required(&at.child("path"), "");
    }
    port(action.at("port"), &at.child("port"), errors);
    errors.one_of(&at.child("scheme"), action.text("scheme"), &["HTTP", "HTTPS"]);
    for header in action.list("httpHeaders") {
        errors.form(&at.child("httpHeaders"), header.text("name"), form::http_header_name);
    }
}

fn sleep(action: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let seconds = action.int("seconds").unwrap_or(0);
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(at, seconds, &detail);
    }
}

/// A port by number or name.
fn port(port: &Value, at: &Path<'_>, errors: &mut Errors) {
    match port {
        Value::String(name) => errors.form(at, name, form::port_name),
        other => errors.port(at, other.as_i64().unwrap_or(0)),
    }
}
