//! The checks, in the order in which their findings are told: those of the baseline by name, then the restricted ones.

mod baseline;
mod profile;
mod restricted;
mod volume;

use serde_json::Value;

use super::{Finding, Level};
use crate::rules::view::View as _;

/// A pod, or a template of pods.
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

/// Finds something, by the rules of a minor version.
pub(super) type Check = fn(&Pod<'_>, u32) -> Option<Finding>;

/// A check, from which minor version on it is done, and the one from which a stricter one stands in its place at the
/// restricted level.
struct Row(Check, u32, Option<u32>);

const BASELINE: [Row; 13] = [
    Row(profile::app_armor, 0, None),
    Row(baseline::capabilities, 0, Some(22)),
    Row(baseline::host_namespaces, 0, None),
    Row(volume::host_paths, 0, Some(0)),
    Row(baseline::host_ports, 0, None),
    Row(baseline::probe_hosts, 34, None),
    Row(baseline::privileged, 0, None),
    Row(baseline::proc_mount, 0, Some(35)),
    Row(profile::selinux, 0, None),
    Row(profile::seccomp_annotations, 0, Some(19)),
    Row(profile::seccomp, 19, Some(19)),
    Row(baseline::sysctls, 0, None),
    Row(baseline::host_process, 0, None),
];

const RESTRICTED: [Row; 7] = [
    Row(restricted::privilege_escalation, 8, None),
    Row(restricted::capabilities, 22, None),
    Row(restricted::proc_mount, 35, None),
    Row(volume::restricted, 0, None),
    Row(restricted::non_root, 0, None),
    Row(restricted::user, 23, None),
    Row(profile::seccomp_required, 19, None),
];

/// The checks of a level by the rules of a minor version.
pub(super) fn all(level: Level, minor: u32) -> Vec<Check> {
    let restricted = level == Level::Restricted;
    let replaced = |row: &&Row| !(restricted && row.2.is_some_and(|since| minor >= since));
    let baseline = BASELINE.iter().filter(|row| row.1 <= minor).filter(replaced);
    let more = RESTRICTED.iter().filter(|row| restricted && row.1 <= minor);
    baseline.chain(more).map(|row| row.0).collect()
}

// === impl Pod ===

impl<'a> Pod<'a> {
    /// Containers of all kinds.
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let spec = self.spec;
        lists.into_iter().flat_map(move |list| spec.list(list))
    }

    /// The names of the containers for which it is so.
    fn named(&self, mut is: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        let found = self.containers().filter(|&container| is(container));
        found.map(|container| container.text("name")).collect()
    }

    fn security(&self) -> &'a Value {
        self.spec.at("securityContext")
    }

    fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.metadata.map("annotations").into_iter().flatten();
        all.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    }

    fn is_windows(&self) -> bool {
        self.spec.at("os").text("name") == "windows"
    }

    /// In a user namespace of its own root is nobody outside.
    fn has_own_users(&self) -> bool {
        self.spec.flag("hostUsers") == Some(false)
    }
}

/// The security settings of a container.
fn context(container: &Value) -> &Value {
    container.at("securityContext")
}

fn found(reason: &'static str, detail: String) -> Option<Finding> {
    Some(Finding { reason, detail })
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

fn plural<'a>(count: usize, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    let all: Vec<String> = items.iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    all.join(", ")
}

/// Who set something: the pod itself, some containers, or both.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let mut all: Vec<String> = pod.then(|| "pod".to_owned()).into_iter().collect();
    if !names.is_empty() {
        all.push(containers(names));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}
