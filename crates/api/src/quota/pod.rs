//! How pods count: what they use, what a quota on cpu or memory demands of them, and which scopes they are in.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use meta::{Format, Quantity};
use serde_json::Value;

use super::{Amounts, footprint};
use crate::rules::pod::qos;
use crate::rules::view::View as _;

/// Resources that are named as such.
pub(super) const NAMES: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// Resources that every container must ask for once a quota is on them.
const DEMANDED: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

/// Whether a quota on this resource is about pods.
pub(super) fn counts(name: &str) -> bool {
    NAMES.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || is_requested_extended(name)
}

fn is_requested_extended(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("requests.") else {
        return false;
    };
    !is_native(name) || rest.starts_with(DEVICE_CLASS)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// What a pod uses. One that has ended, or whose end is overdue, counts as an object only.
pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::default();
    used.set("count/pods", Quantity::from_units(1, Format::DecimalSi));
    if is_live(pod, now) {
        let requests = footprint::effective(pod, footprint::List::Requests);
        let limits = footprint::effective(pod, footprint::List::Limits);
        used.add(&compute(&requests, &limits));
    }
    used
}

/// Whether a pod still counts with what it runs with.
fn is_live(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod.at("status").text("phase"), "Failed" | "Succeeded") {
        return false;
    }
    overdue_at(pod).is_none_or(|end| now <= end)
}

/// When a pod that is being deleted stops counting, because its end is overdue.
pub fn overdue_at(pod: &Value) -> Option<Timestamp> {
    let metadata = pod.at("metadata");
    let end = meta::time::parse(metadata.text("deletionTimestamp"))?;
    let grace = metadata.int("deletionGracePeriodSeconds")?;
    end.saturating_add(SignedDuration::from_secs(grace)).ok()
}

/// The names by which quotas count amounts of containers.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::default();
    used.set("pods", Quantity::from_units(1, Format::DecimalSi));
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            used.set(name, amount);
            used.set(format!("requests.{name}"), amount);
        }
        if let Some(amount) = limits.get(name) {
            used.set(format!("limits.{name}"), amount);
        }
    }
    for (name, amount) in requests.iter() {
        if name.starts_with("hugepages-") {
            used.set(name, amount);
            used.set(format!("requests.{name}"), amount);
        }
        if is_extended(name) {
            used.set(format!("requests.{name}"), amount);
        }
    }
    used
}

/// Whether a resource that containers ask for is none of Kubernetes' own.
pub fn is_extended(name: &str) -> bool {
    name.starts_with(DEVICE_CLASS) || !is_native(name) && !name.starts_with("requests.")
}

/// What a quota on these resources demands and a pod lacks.
pub(super) fn constraints(pod: &Value, limited: &[&str]) -> Result<(), String> {
    if footprint::has_pod_level(pod) {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let spec = pod.at("spec");
    for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
        let resources = container.at("resources");
        let asks = compute(
            &Amounts::read(resources.at("requests")),
            &Amounts::read(resources.at("limits")),
        );
        for name in limited.iter().filter(|name| DEMANDED.contains(name)) {
            if asks.get(name).is_none() {
                missing.entry(*name).or_default().insert(container.text("name"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let one = |(name, containers): (&&str, &BTreeSet<&str>)| {
        let containers: Vec<&str> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    };
    let all: Vec<String> = missing.iter().map(one).collect();
    Err(format!("must specify {}", all.join("; ")))
}

/// Whether a pod has a deadline, and so ends by itself.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod.at("spec")
        .int("activeDeadlineSeconds")
        .is_some_and(|seconds| seconds >= 0)
}

/// Whether a pod is in a scope.
pub(super) fn is_in(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    match scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = pod.at("spec").text("priorityClassName");
            super::scope::selects(operator, values, &[class])
        }
        "CrossNamespacePodAffinity" => looks_elsewhere(pod),
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    match pod.at("status").text("qosClass") {
        "" => qos::class(pod) == "BestEffort",
        known => known == "BestEffort",
    }
}

/// Whether an affinity of a pod looks at pods of other namespaces.
fn looks_elsewhere(pod: &Value) -> bool {
    let affinity = pod.at("spec").at("affinity");
    let looks = |term: &Value| !term.list("namespaces").is_empty() || term.has("namespaceSelector");
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = affinity.at(kind);
        let required = terms.list("requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = terms.list("preferredDuringSchedulingIgnoredDuringExecution").iter();
        required
            .chain(preferred.map(|weighted| weighted.at("podAffinityTerm")))
            .any(looks)
    })
}
