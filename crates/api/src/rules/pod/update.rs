//! What may change in a pod that exists.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::form;
use crate::rules::view::{Edit as _, View as _, same};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks an update through the pod itself.
pub(super) fn check(new: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (new.at("spec"), old.at("spec"));
    let at = Path::new("spec");
    for name in ["containers", "initContainers"] {
        let at = at.child(name);
        if new.list(name).len() != old.list(name).len() {
            errors.forbidden(&at, "pod updates may not add or remove containers");
            return;
        }
    }
    if !deadline(new, old, &at.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations(new, old, &at.child("tolerations"), errors);
    gates(new, old, &at.child("schedulingGates"), errors);
    if same(new, old) {
        return;
    }
    if let Some(difference) = other_change(new, old, errors) {
        let detail = format!("pod updates may not change fields other than {UPDATABLE}\n{difference}");
        errors.forbidden(&at, &detail);
    }
}

/// The deadline may come and shrink; says whether the other checks are worth while.
fn deadline(new: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) -> bool {
    match (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.in_range(at, new, 0, i64::from(i32::MAX));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(at, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(at, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn tolerations(new: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    let kept = |old: &Value| {
        new.list("tolerations").iter().any(|new| {
            ["key", "operator", "value", "effect"]
                .iter()
                .all(|name| new.text(name) == old.text(name))
        })
    };
    if !old.list("tolerations").iter().all(kept) {
        errors.forbidden(
            at,
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

fn gates(new: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (index, gate) in new.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !old.list("schedulingGates").iter().any(|old| old.text("name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&at.index(index).child("name"), &detail);
        }
    }
}

/// What differs beyond that which may, as text.
fn other_change(new: &Value, old: &Value, errors: &mut Errors) -> Option<String> {
    let mut allowed = new.clone();
    for name in ["containers", "initContainers"] {
        for (container, before) in allowed.each(name).zip(old.list(name)) {
            container.take_from("image", before);
        }
    }
    for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        allowed.take_from(name, old);
    }
    if old
        .int("terminationGracePeriodSeconds")
        .is_some_and(|seconds| seconds < 0)
        && allowed.int("terminationGracePeriodSeconds") == Some(1)
    {
        allowed.take_from("terminationGracePeriodSeconds", old);
    }
    if !old.list("schedulingGates").is_empty() {
        gated(&mut allowed, old, errors);
    }
    if same(&allowed, old) {
        return None;
    }
    let mut lines = Vec::new();
    differences("spec", &allowed, old, &mut lines);
    Some(lines.join("\n"))
}

/// A pod that waits at a gate may be bound to fewer nodes: its selector may grow.
fn gated(allowed: &mut Value, old: &Value, errors: &mut Errors) {
    let (now, before) = (allowed.at("nodeSelector"), old.at("nodeSelector"));
    let grows = before
        .as_object()
        .into_iter()
        .flatten()
        .all(|(k, v)| now.get(k) == Some(v));
    if !grows {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&Path::new("spec.nodeSelector"), now.clone(), detail);
    }
    allowed.take_from("nodeSelector", old);
    let affinity = old.at("affinity").at("nodeAffinity");
    if affinity.is_null() && allowed.at("affinity").has("nodeAffinity") {
        allowed.object("affinity").drop("nodeAffinity");
    }
}

fn differences(at: &str, new: &Value, old: &Value, lines: &mut Vec<String>) {
    if same(new, old) {
        return;
    }
    if let (Value::Object(new), Value::Object(old)) = (new, old) {
        let mut names: Vec<&String> = new.keys().chain(old.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let none = &Value::Null;
            differences(
                &format!("{at}.{name}"),
                new.get(name).unwrap_or(none),
                old.get(name).unwrap_or(none),
                lines,
            );
        }
        return;
    }
    if let (Value::Array(new), Value::Array(old)) = (new, old)
        && new.len() == old.len()
    {
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            differences(&format!("{at}[{index}]"), new, old, lines);
        }
        return;
    }
    lines.push(format!("-{at}: {old}"));
    lines.push(format!("+{at}: {new}"));
}

/// Checks an update through `/status`.
pub(super) fn check_status(new: &Value, old: &Value, errors: &mut Errors) {
    let (status, before, spec) = (new.at("status"), old.at("status"), old.at("spec"));
    let at = Path::new("status");
    let conditions = at.child("conditions");
    for (index, condition) in status.list("conditions").iter().enumerate() {
        if condition
            .int("observedGeneration")
            .is_some_and(|generation| generation < 0)
        {
            let shown = condition.at("observedGeneration").clone();
            errors.invalid(
                &conditions.index(index).child("observedGeneration"),
                shown,
                "must be a non-negative integer",
            );
        }
    }
    let nominated = status.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        let at = at.child("nominatedNodeName");
        errors.form(&at, nominated, form::dns_subdomain);
        if !spec.lacks("nodeName") {
            errors.forbidden(&at, "may not be set on pods that are already bound to a node");
        }
    }
    errors.immutable(&at.child("qosClass"), status.at("qosClass"), before.at("qosClass"));
    let lists = [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ];
    for (name, containers) in lists {
        let at = at.child(name);
        for (index, was) in before.list(name).iter().enumerate() {
            ended_stays_ended(
                was,
                status.list(name),
                spec,
                spec.list(containers),
                &at.index(index),
                errors,
            );
        }
    }
    addresses(status, &at.child("podIPs"), errors);
}

fn ended_stays_ended(
    was: &Value,
    now: &[Value],
    spec: &Value,
    containers: &[Value],
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let ended = was.at("state").at("terminated");
    let name = was.text("name");
    if ended.is_null() {
        return;
    }
    let Some(container) = containers.iter().find(|container| container.text("name") == name) else {
        return;
    };
    let own = container.text("restartPolicy");
    let policy = if own.is_empty() {
        spec.text("restartPolicy")
    } else {
        own
    };
    let failed = ended.int("exitCode").unwrap_or(0) != 0;
    let may_restart = match policy {
        "Always" => true,
        "OnFailure" => failed,
        _ => !container.list("restartPolicyRules").is_empty(),
    };
    let restarted = now
        .iter()
        .any(|now| now.text("name") == name && !now.at("state").has("terminated"));
    if restarted && !may_restart {
        errors.forbidden(&at.child("state"), "may not be transitioned to non-terminated state");
    }
}

fn addresses(status: &Value, at: &Path<'_>, errors: &mut Errors) {
    let list = status.list("podIPs");
    for (index, entry) in list.iter().enumerate() {
        let ip = entry.text("ip");
        errors.form(&at.index(index), ip, form::ip);
        if list[..index].iter().any(|earlier| earlier.text("ip") == ip) {
            errors.duplicate(&at.index(index), ip);
        }
    }
    let of_v6 = |entry: &&Value| entry.text("ip").contains(':');
    let v6 = list.iter().filter(of_v6).count();
    if list.len() > 1 && (v6 > 1 || list.len() - v6 > 1) {
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid(at, status.at("podIPs").clone(), detail);
    }
}

/// Checks an update through `/ephemeralcontainers`: they may come, but not change or go.
pub(super) fn check_ephemeral(new: &Value, old: &Value, errors: &mut Errors) {
    let at = Path::new("spec.ephemeralContainers");
    if old
        .at("metadata")
        .at("annotations")
        .get("kubernetes.io/config.mirror")
        .is_some()
    {
        errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
        return;
    }
    for was in old.at("spec").list("ephemeralContainers") {
        let name = was.text("name");
        let now = new
            .at("spec")
            .list("ephemeralContainers")
            .iter()
            .find(|now| now.text("name") == name);
        match now {
            None => errors.forbidden(
                &at,
                &format!("existing ephemeral containers {name:?} may not be removed\n"),
            ),
            Some(now) if !same(now, was) => {
                errors.forbidden(
                    &at,
                    &format!("existing ephemeral containers {name:?} may not be changed\n"),
                );
            }
            Some(_) => {}
        }
    }
}

/// Checks an update through `/resize`: only cpu and memory of containers may change.
pub(super) fn check_resize(new: &Value, old: &Value, errors: &mut Errors) {
    let mut allowed = new.at("spec").clone();
    for name in ["containers", "initContainers"] {
        for (container, before) in allowed.each(name).zip(old.at("spec").list(name)) {
            container.take_from("resources", before);
            container.take_from("resizePolicy", before);
        }
    }
    allowed.take_from("resources", old.at("spec"));
    if !same(&allowed, old.at("spec")) {
        errors.forbidden(&Path::new("spec"), "only cpu and memory resources are mutable");
    }
}
