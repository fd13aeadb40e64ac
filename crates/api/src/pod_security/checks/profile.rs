//! Checks of AppArmor, SELinux and seccomp.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, containers, context, found, plural, quoted, setters};
use crate::pod_security::Finding;
use crate::rules::view::View as _;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Types of profiles that don't switch anything off.
fn is_confined(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// The type of a profile, when there is a profile.
fn kind<'a>(context: &'a Value, profile: &str) -> Option<&'a str> {
    let profile = context.at(profile);
    (!profile.is_null()).then(|| profile.text("type"))
}

pub(super) fn app_armor(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let mut is_bad = |context| {
        let bad = kind(context, "appArmorProfile").filter(|kind| !is_confined(kind));
        kinds.extend(bad);
        bad.is_some()
    };
    let own = is_bad(pod.security());
    let bad = pod.named(|container| is_bad(context(container)));
    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, value)| {
            let allowed = value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR) && !allowed
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort();
    let mut who: Vec<String> = setters(own, &bad).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = kinds.into_iter().map(str::to_owned).chain(annotations).collect();
    let reason = match values.len() {
        1 => "forbidden AppArmor profile",
        _ => "forbidden AppArmor profiles",
    };
    let who = who.join(" and ");
    found(
        reason,
        format!("{who} must not set AppArmor profile type to {}", quoted(&values)),
    )
}

/// Since 1.31 container engines have a type of their own.
pub(super) fn selinux(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |context: &Value| {
        let options = context.at("seLinuxOptions");
        let kind = options.text("type").to_owned();
        let allowed = match kind.as_str() {
            "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
            "container_engine_t" => minor >= 31,
            _ => false,
        };
        let (sets_user, sets_role) = (!options.lacks("user"), !options.lacks("role"));
        if !allowed {
            types.insert(kind);
        }
        user |= sets_user;
        role |= sets_role;
        !allowed || sets_user || sets_role
    };
    let own = is_bad(pod.security());
    let bad = pod.named(|container| is_bad(context(container)));
    let who = setters(own, &bad)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        let list: Vec<String> = types.into_iter().collect();
        what.push(format!("{} {}", plural(list.len(), "type", "types"), quoted(&list)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    found(
        "seLinuxOptions",
        format!(
            "{who} set forbidden securityContext.seLinuxOptions: {}",
            what.join("; ")
        ),
    )
}

/// Until 1.19 profiles were annotations.
pub(super) fn seccomp_annotations(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 19 {
        return None;
    }
    let of_containers: Vec<String> = pod
        .containers()
        .map(|container| format!("{SECCOMP}{}", container.text("name")))
        .collect();
    let is_about = |key: &str| key == SECCOMP_POD || of_containers.iter().any(|known| known == key);
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let bad = pod
        .annotations()
        .filter(|(key, value)| is_about(key) && !allowed(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    if bad.is_empty() {
        return None;
    }
    let list: Vec<String> = bad.into_iter().collect();
    found(
        "seccompProfile",
        format!(
            "forbidden {} {}",
            plural(list.len(), "annotation", "annotations"),
            list.join(", ")
        ),
    )
}

pub(super) fn seccomp(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let mut is_bad = |context| {
        let bad = kind(context, "seccompProfile").filter(|kind| !is_confined(kind));
        kinds.extend(bad);
        bad.is_some()
    };
    let own = is_bad(pod.security());
    let bad = pod.named(|container| is_bad(context(container)));
    let who = setters(own, &bad)?;
    let kinds: Vec<&str> = kinds.into_iter().collect();
    found(
        "seccompProfile",
        format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted(&kinds)
        ),
    )
}

/// Restricted: a profile must be there. Since 1.25 Windows knows none.
pub(super) fn seccomp_required(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && pod.is_windows() {
        return None;
    }
    if let Some(finding) = seccomp(pod, minor) {
        return Some(finding);
    }
    if kind(pod.security(), "seccompProfile").is_some() {
        return None;
    }
    let silent = pod.named(|container| kind(context(container), "seccompProfile").is_none());
    if silent.is_empty() {
        return None;
    }
    let who = containers(&silent);
    found(
        "seccompProfile",
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
    )
}
