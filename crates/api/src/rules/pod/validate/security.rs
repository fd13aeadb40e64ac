//! What security contexts must be like.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::view::View as _;

use super::volume::descending_path;

const MOST_ID: i64 = i32::MAX as i64;

/// Checks a pod's security context.
pub(super) fn pod(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let context = spec.at("securityContext");
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], at, errors);
    let groups = at.child("supplementalGroups");
    for (index, group) in context.list("supplementalGroups").iter().enumerate() {
        errors.in_range(&groups.index(index), group.as_i64().unwrap_or(0), 0, MOST_ID);
    }
    sysctls(spec, &at.child("sysctls"), errors);
    if context.has("fsGroupChangePolicy") {
        let policy = context.text("fsGroupChangePolicy");
        errors.one_of(&at.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    profiles(context, at, errors);
    if context.has("supplementalGroupsPolicy") {
        let policy = context.text("supplementalGroupsPolicy");
        errors.one_of(&at.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    if context.has("seLinuxChangePolicy") {
        let policy = context.text("seLinuxChangePolicy");
        errors.one_of(&at.child("seLinuxChangePolicy"), policy, &["MountOption", "Recursive"]);
    }
}

fn ids(context: &Value, names: &[&str], at: &Path<'_>, errors: &mut Errors) {
    for name in names {
        if let Some(id) = context.int(name) {
            errors.in_range(&at.child(name), id, 0, MOST_ID);
        }
    }
}

fn sysctls(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let list = spec.at("securityContext").list("sysctls");
    for (index, sysctl) in list.iter().enumerate() {
        let at = at.index(index);
        let at = at.child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.required(&at, "");
        } else if !is_sysctl(name) {
            let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&at, name, detail);
        } else if list[..index].iter().any(|earlier| earlier.text("name") == name) {
            errors.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        let of_net = dotted.starts_with("net.");
        let of_ipc = dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
            || dotted.starts_with("fs.mqueue.")
            || dotted == "kernel.sem";
        if spec.is("hostNetwork") && of_net {
            errors.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if spec.is("hostIPC") && of_ipc {
            errors.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn profiles(context: &Value, at: &Path<'_>, errors: &mut Errors) {
    let seccomp = context.at("seccompProfile");
    if !seccomp.is_null() {
        let at = at.child("seccompProfile");
        let kind = seccomp.text("type");
        match kind {
            "" => errors.required(&at.child("type"), "type is required when seccompProfile is set"),
            _ => errors.one_of(&at.child("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
        }
        let at_file = at.child("localhostProfile");
        match (kind == "Localhost", seccomp.has("localhostProfile")) {
            (true, false) => errors.required(&at_file, "must be set when seccomp type is Localhost"),
            (true, true) => descending_path(seccomp.text("localhostProfile"), &at_file, errors),
            (false, true) => {
                errors.invalid(
                    &at_file,
                    seccomp.clone(),
                    "can only be set when seccomp type is Localhost",
                );
            }
            (false, false) => {}
        }
    }
    let armor = context.at("appArmorProfile");
    if !armor.is_null() {
        let at = at.child("appArmorProfile");
        let kind = armor.text("type");
        match kind {
            "" => errors.required(&at.child("type"), "type is required when appArmorProfile is set"),
            _ => errors.one_of(&at.child("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
        }
        let at_file = at.child("localhostProfile");
        match (kind == "Localhost", armor.has("localhostProfile")) {
            (true, false) => errors.required(&at_file, "must be set when AppArmor type is Localhost"),
            (false, true) => {
                let shown = armor.text("localhostProfile");
                errors.invalid(&at_file, shown, "can only be set when AppArmor type is Localhost");
            }
            _ => {}
        }
    }
}

/// Checks a container's security context.
pub(super) fn container(context: &Value, shared_users: bool, at: &Path<'_>, errors: &mut Errors) {
    if context.is_null() {
        return;
    }
    ids(context, &["runAsUser", "runAsGroup"], at, errors);
    if context.has("procMount") {
        let mount = context.text("procMount");
        errors.one_of(&at.child("procMount"), mount, &["Default", "Unmasked"]);
        if shared_users && mount == "Unmasked" {
            errors.invalid(
                &at.child("procMount"),
                mount,
                "`hostUsers` must be false to use `Unmasked`",
            );
        }
    }
    profiles(context, at, errors);
    if context.flag("allowPrivilegeEscalation") == Some(false) {
        if context.is("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(at, context.clone(), detail);
        }
        for capability in context.at("capabilities").list("add") {
            if capability == "CAP_SYS_ADMIN" {
                let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
                errors.invalid(at, context.clone(), detail);
            }
        }
    }
}
