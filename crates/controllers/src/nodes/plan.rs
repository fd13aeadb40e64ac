//! Whether a node lives, the taints that say so, and when a pod must leave a tainted node. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::world::{Condition, Node};

/// How long a node may be silent before it counts as lost.
pub(crate) const GRACE: Duration = Duration::from_secs(50);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// What the node itself reports, and what a lost node's conditions become.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// When a pod must leave its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    Never,
    Now,
    After(Duration),
}

/// The conditions of a node that is silent: unknown, all that it reported.
pub(crate) fn lost(node: &Node, now: Timestamp) -> Vec<Condition> {
    let one = |kind: &&str| {
        let known = Condition::find(&node.conditions, kind);
        if known.is_some_and(|known| known.status == "Unknown") {
            return None;
        }
        let (reason, message) = match known {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        Some(Condition {
            status: "Unknown".into(),
            ..Condition::new(kind, false, reason, message, now)
        })
    };
    REPORTED.iter().filter_map(one).collect()
}

/// The taints that a node should have; others' taints stay, and a taint that stays keeps its time.
pub(crate) fn taints(node: &Node, now: Timestamp) -> Vec<Taint> {
    let ready = Condition::find(&node.conditions, "Ready").map(|condition| condition.status.as_str());
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match ready {
        Some("True") => {}
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some(_) => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        None => wanted.push((NOT_READY, "NoSchedule")),
    }
    let pressed = |kind: &str| Condition::find(&node.conditions, kind).is_some_and(Condition::is_true);
    wanted.extend(
        PRESSURES
            .iter()
            .filter(|(kind, _)| pressed(kind))
            .map(|(_, taint)| (*taint, "NoSchedule")),
    );
    if node.unschedulable {
        wanted.push(("node.kubernetes.io/unschedulable", "NoSchedule"));
    }
    let mut taints: Vec<Taint> = node.taints.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    for (key, effect) in wanted {
        let known = node
            .taints
            .iter()
            .find(|taint| taint.key == key && taint.effect == effect);
        taints.push(known.cloned().unwrap_or_else(|| Taint {
            key: key.into(),
            effect: effect.into(),
            value: None,
            time_added: Some(Time(now)),
        }));
    }
    taints
}

fn is_ours(taint: &Taint) -> bool {
    let ours = [NOT_READY, UNREACHABLE, "node.kubernetes.io/unschedulable"];
    ours.contains(&taint.key.as_str()) || PRESSURES.iter().any(|(_, key)| taint.key == *key)
}

/// Whether two lists of taints are the same, in any order.
pub(crate) fn same(one: &[Taint], other: &[Taint]) -> bool {
    let has = |list: &[Taint], taint: &Taint| {
        list.iter()
            .any(|known| known.key == taint.key && known.effect == taint.effect && known.value == taint.value)
    };
    one.len() == other.len() && one.iter().all(|taint| has(other, taint))
}

/// When a pod with these tolerations must leave a node with these taints.
pub(crate) fn leave(tolerations: &[Toleration], taints: &[Taint], now: Timestamp) -> Leave {
    let mut least: Option<i64> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let mut tolerating = tolerations
            .iter()
            .filter(|toleration| tolerates(toleration, taint))
            .peekable();
        if tolerating.peek().is_none() {
            return Leave::Now;
        }
        let since = taint.time_added.as_ref().map_or(now, |time| time.0).as_second();
        for seconds in tolerating.filter_map(|toleration| toleration.toleration_seconds) {
            let left = since + seconds.max(0) - now.as_second();
            least = Some(least.map_or(left, |known| known.min(left)));
        }
    }
    match least {
        None => Leave::Never,
        Some(left) if left <= 0 => Leave::Now,
        Some(left) => Leave::After(Duration::from_secs(left.unsigned_abs())),
    }
}

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && given(&toleration.key).map_or(exists, |key| key == taint.key)
        && (exists || toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""))
}
