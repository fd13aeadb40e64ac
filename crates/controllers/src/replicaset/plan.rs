//! What a replica set needs: pods to create or delete, and the status that it has. Pure.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;

use crate::world::{Condition, Phase, Pod, ReplicaSet, ReplicaSetStatus};

/// The most pods that one run creates or deletes.
const BURST: usize = 500;

/// What to do about the pods.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Create(usize),
    /// Uids, in the order of deletion.
    Delete(Vec<String>),
}

/// Plans for the active pods that the set owns; `siblings` counts, by node, the pods of related sets too.
pub(crate) fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], siblings: &HashMap<String, usize>, now: Timestamp) -> Step {
    let active: Vec<_> = pods.iter().filter(|pod| pod.is_active()).collect();
    let wanted = usize::try_from(set.replicas).unwrap_or(0);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Step::Nothing,
        Ordering::Less => Step::Create((wanted - active.len()).min(BURST)),
        Ordering::Greater => {
            let mut ranked = active;
            ranked.sort_by(|one, other| rank(one, siblings, now).cmp(&rank(other, siblings, now)));
            let surplus = (ranked.len() - wanted).min(BURST);
            Step::Delete(ranked.into_iter().take(surplus).map(|pod| pod.uid.clone()).collect())
        }
    }
}

/// What goes first sorts first: not placed, not running, not ready, cheap, crowded, ready for a shorter time (by orders
/// of magnitude, so that equals go in no order), restarted more often, younger.
fn rank<'a>(pod: &'a Pod, siblings: &HashMap<String, usize>, now: Timestamp) -> impl Ord + use<'a> {
    let crowd = pod
        .node
        .as_ref()
        .and_then(|node| siblings.get(node))
        .copied()
        .unwrap_or(0);
    let phase = match pod.phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        _ => 2,
    };
    let ready = pod.ready.map(|since| magnitude(since, now));
    (
        (pod.node.is_some(), phase, pod.ready.is_some()),
        (pod.deletion_cost, Reverse(crowd), ready),
        (Reverse(pod.restarts), magnitude(pod.created, now), pod.uid.as_str()),
    )
}

fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let seconds = now.as_second().saturating_sub(since.as_second());
    u64::try_from(seconds)
        .unwrap_or(0)
        .checked_ilog2()
        .map_or(0, |log| log + 1)
}

/// The status by the pods, and after what time a pod may have become available without any other change.
pub(crate) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<(&str, String)>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let mut status = ReplicaSetStatus {
        observed_generation: set.generation,
        ..ReplicaSetStatus::default()
    };
    let mut wait: Option<i64> = None;
    for pod in pods.iter().filter(|pod| pod.is_active()) {
        status.replicas += 1;
        let labeled = set
            .template_labels
            .iter()
            .all(|(key, value)| pod.labels.get(key) == Some(value));
        status.labeled += i32::from(labeled);
        let Some(since) = pod.ready else { continue };
        status.ready += 1;
        let left = since.as_second() + i64::from(set.min_ready_seconds) - now.as_second();
        if set.min_ready_seconds == 0 || left <= 0 {
            status.available += 1;
        } else {
            wait = Some(wait.map_or(left, |least| least.min(left)));
        }
    }
    status.conditions.extend(
        set.status
            .conditions
            .iter()
            .filter(|c| c.kind != "ReplicaFailure")
            .cloned(),
    );
    if let Some((reason, message)) = failure {
        let known = Condition::find(&set.status.conditions, "ReplicaFailure").filter(|known| known.reason == reason);
        let condition = Condition::new("ReplicaFailure", true, reason, message, now);
        status.conditions.push(known.cloned().unwrap_or(condition));
    }
    (status, wait.map(|seconds| Duration::from_secs(seconds.unsigned_abs())))
}
