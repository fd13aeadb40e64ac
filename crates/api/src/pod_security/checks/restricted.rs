//! Restricted checks: no root, no new privileges, no capabilities.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, baseline, containers, context, found, quoted, setters};
use crate::pod_security::Finding;
use crate::rules::view::View as _;

/// Since 1.25 Windows knows no such thing.
pub(super) fn privilege_escalation(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && pod.is_windows() {
        return None;
    }
    let bad = pod.named(|container| context(container).flag("allowPrivilegeEscalation") != Some(false));
    if bad.is_empty() {
        return None;
    }
    let who = containers(&bad);
    found(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

/// Since 1.25 Windows knows no such thing.
pub(super) fn capabilities(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && pod.is_windows() {
        return None;
    }
    let list = |container, name: &str| context(container).at("capabilities").list(name);
    let keeping = pod.named(|container| !list(container, "drop").iter().any(|name| name == "ALL"));
    let mut added = BTreeSet::new();
    let adding = pod.named(|container| {
        let names = list(container, "add").iter().filter_map(Value::as_str);
        let more: Vec<&str> = names.filter(|name| *name != "NET_BIND_SERVICE").collect();
        added.extend(more.iter().copied());
        !more.is_empty()
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let added: Vec<&str> = added.into_iter().collect();
        let who = containers(&adding);
        details.push(format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(&added)
        ));
    }
    match details.is_empty() {
        true => None,
        false => found("unrestricted capabilities", details.join("; ")),
    }
}

/// Also for pods with users of their own.
pub(super) fn proc_mount(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    baseline::unmasked(pod)
}

/// Since 1.35 pods with users of their own may be root.
pub(super) fn non_root(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && pod.has_own_users() {
        return None;
    }
    let reason = "runAsNonRoot != true";
    let says = |context: &Value| context.flag("runAsNonRoot");
    let own = says(pod.security());
    let bad = pod.named(|container| says(context(container)) == Some(false));
    if let Some(who) = setters(own == Some(false), &bad) {
        return found(reason, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.named(|container| says(context(container)).is_none());
    if own == Some(true) || silent.is_empty() {
        return None;
    }
    let who = containers(&silent);
    found(
        reason,
        format!("pod or {who} must set securityContext.runAsNonRoot=true"),
    )
}

/// Since 1.35 pods with users of their own may be root.
pub(super) fn user(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && pod.has_own_users() {
        return None;
    }
    let is_root = |context: &Value| context.int("runAsUser") == Some(0);
    let bad = pod.named(|container| is_root(context(container)));
    let who = setters(is_root(pod.security()), &bad)?;
    found("runAsUser=0", format!("{who} must not set runAsUser=0"))
}
