//! What a container may do: capabilities, privilege, masked paths, seccomp.
//!
//! The defaults are those of the container runtimes that people know.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, PodSpec, SeccompProfile};
use serde_json::{Value, json};

use super::env::ConfigError;
use super::seccomp;

const DEFAULT_CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// By the kernel's numbers.
const ALL_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the security contexts of a pod and a container come to.
pub(crate) struct Security {
    pub(crate) privileged: bool,
    pub(crate) read_only_root: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) capabilities: Vec<String>,
    pub(crate) seccomp: Option<Value>,
    pub(crate) masked_paths: &'static [&'static str],
    pub(crate) readonly_paths: &'static [&'static str],
}

/// Works it out; `profiles` is where `Localhost` seccomp profiles are.
pub(crate) fn resolve(spec: &PodSpec, container: &Container, profiles: &Path) -> Result<Security, ConfigError> {
    let own = container.security_context.as_ref();
    let privileged = own.and_then(|c| c.privileged).unwrap_or(false);
    let capabilities = capabilities(container, privileged, crate::machine::withholds);
    let profile = own.and_then(|c| c.seccomp_profile.as_ref()).or(spec
        .security_context
        .as_ref()
        .and_then(|pod| pod.seccomp_profile.as_ref()));
    let seccomp = if privileged {
        None
    } else {
        seccomp(profile, &capabilities, profiles)?
    };
    let unmasked = privileged || own.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked");
    Ok(Security {
        privileged,
        read_only_root: own.and_then(|c| c.read_only_root_filesystem).unwrap_or(false),
        no_new_privileges: own.and_then(|c| c.allow_privilege_escalation) == Some(false),
        capabilities,
        seccomp,
        masked_paths: if unmasked { &[] } else { MASKED_PATHS },
        readonly_paths: if unmasked { &[] } else { READONLY_PATHS },
    })
}

fn capabilities(container: &Container, privileged: bool, withholds: impl Fn(u32) -> bool) -> Vec<String> {
    let wanted = container
        .security_context
        .as_ref()
        .and_then(|c| c.capabilities.as_ref());
    let add: Vec<String> = wanted
        .and_then(|c| c.add.as_ref())
        .into_iter()
        .flatten()
        .map(|c| normal(c))
        .collect();
    let drop: Vec<String> = wanted
        .and_then(|c| c.drop.as_ref())
        .into_iter()
        .flatten()
        .map(|c| normal(c))
        .collect();
    let has = |list: &[String], name: &str| list.iter().any(|entry| entry == name);
    let everything = privileged || has(&add, "CAP_ALL");
    let nothing = has(&drop, "CAP_ALL") && !privileged;
    ALL_CAPABILITIES
        .iter()
        .zip(0..)
        .filter(|(name, bit)| {
            // Everything is all that there is to give; what is asked for by name must be had.
            if everything && !has(&add, name) && withholds(*bit) {
                return false;
            }
            let default = !nothing && (everything || DEFAULT_CAPABILITIES.contains(name));
            (default && !has(&drop, name)) || has(&add, name) || (everything && nothing && has(&add, "CAP_ALL"))
        })
        .map(|(name, _)| name.to_string())
        .collect()
}

/// Both `NET_ADMIN` and `CAP_NET_ADMIN` are understood.
fn normal(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    if name.starts_with("CAP_") {
        name
    } else {
        format!("CAP_{name}")
    }
}

/// Without a word from the pod the runtime's default profile holds (seccompDefault is on here).
fn seccomp(
    profile: Option<&SeccompProfile>,
    capabilities: &[String],
    profiles: &Path,
) -> Result<Option<Value>, ConfigError> {
    match profile.map(|profile| profile.type_.as_str()) {
        None | Some("RuntimeDefault") => Ok(Some(seccomp::default_profile(capabilities))),
        Some("Unconfined") => Ok(None),
        Some("Localhost") => {
            let name = profile
                .and_then(|profile| profile.localhost_profile.as_deref())
                .unwrap_or_default();
            let path = profiles.join(name);
            let bytes = std::fs::read(&path)
                .map_err(|error| ConfigError(format!("cannot load seccomp profile {:?}: {error}", path.display())))?;
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| ConfigError(format!("seccomp profile {:?} is not valid: {error}", path.display())))
        }
        Some(other) => Err(ConfigError(format!("unknown seccomp profile type {other:?}"))),
    }
}

impl Security {
    /// The capability sets of an OCI process. Ambient ones would survive a change of user, so there are none.
    pub(crate) fn oci_capabilities(&self) -> Value {
        json!({"bounding": self.capabilities, "effective": self.capabilities, "permitted": self.capabilities,
            "inheritable": [], "ambient": []})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Capabilities, SecurityContext};

    fn of(add: &[&str], drop: &[&str]) -> Vec<String> {
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        let context = SecurityContext {
            capabilities: Some(Capabilities {
                add: list(add),
                drop: list(drop),
            }),
            ..SecurityContext::default()
        };
        capabilities(
            &Container {
                security_context: Some(context),
                ..Container::default()
            },
            false,
            |_| false,
        )
    }

    #[test]
    fn what_the_host_withholds_is_no_part_of_everything() {
        let withheld = |bit| bit == 24;
        let everything = capabilities(&Container::default(), true, withheld);
        assert!(!everything.contains(&"CAP_SYS_RESOURCE".to_string()));
        assert_eq!(everything.len(), ALL_CAPABILITIES.len() - 1);
        assert_eq!(
            (ALL_CAPABILITIES[0], ALL_CAPABILITIES[40]),
            ("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE")
        );
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(of(&[], &[]).len(), DEFAULT_CAPABILITIES.len());
        assert_eq!(of(&["NET_ADMIN"], &["all"]), ["CAP_NET_ADMIN"]);
        assert_eq!(of(&["ALL"], &[]).len(), ALL_CAPABILITIES.len());
        assert_eq!(of(&["ALL"], &["NET_RAW"]).len(), ALL_CAPABILITIES.len() - 1);
        assert!(!of(&[], &["KILL"]).contains(&"CAP_KILL".to_string()));
        assert!(of(&[], &["ALL"]).is_empty());
    }
}
