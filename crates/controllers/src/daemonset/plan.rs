//! What a daemon set needs: a pod on each node that is wanted, the newest of them within the limits of its strategy, and
//! its status. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;
use serde_json::Value;

use super::place::{Place, judge};
use crate::world::{DaemonSet, DaemonStatus, Node, Phase, Pod};

/// The label of a pod that says which revision it is of.
pub(super) const HASH: &str = "controller-revision-hash";

/// When a daemon's pod last failed on a node, and how long that is waited out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) last: Timestamp,
    pub(super) wait: Duration,
}

/// What is known when a round begins.
pub(super) struct Situation<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) pods: &'a [Arc<Pod>],
    /// The current revision.
    pub(super) hash: &'a str,
    /// By node.
    pub(super) failures: &'a HashMap<String, Failure>,
    pub(super) now: Timestamp,
}

/// What to do in a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    /// Uids.
    pub(super) delete: Vec<String>,
    /// Nodes on which a pod has failed and is taken away.
    pub(super) failed: Vec<String>,
    /// What users are told: whether it is a warning, the reason, the message.
    pub(super) events: Vec<(bool, &'static str, String)>,
    /// When to look again though nothing has changed.
    pub(super) wait: Option<Duration>,
}

/// The pods by the node that they are on, or are for; the oldest of each node first.
struct Map<'a>(BTreeMap<&'a str, Vec<&'a Pod>>);

/// Plans a round: first one pod a node, and when that holds, the next step of a rollout.
pub(super) fn plan(on: &Situation<'_>) -> Plan {
    let map = Map::of(on.pods);
    let mut plan = Plan::default();
    for node in on.nodes {
        let pods = map.0.get(node.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        match judge(&on.set.places, node) {
            Place::Wanted if pods.is_empty() => plan.create.push(node.name.clone()),
            Place::Barred => plan
                .delete
                .extend(pods.iter().filter(|pod| !pod.deleting).map(|pod| pod.uid.clone())),
            place => plan.keep(on, node, pods, place == Place::Wanted),
        }
    }
    // Nobody else would delete a pod that waits for a node which is gone.
    let gone = |name: &str| on.nodes.iter().all(|node| node.name != name);
    for pod in map.0.iter().filter(|(name, _)| gone(name)).flat_map(|(_, pods)| pods) {
        if pod.node.is_none() && !pod.deleting {
            plan.delete.push(pod.uid.clone());
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() && !on.set.on_delete {
        plan.roll(on, &map);
    }
    plan
}

impl<'a> Map<'a> {
    fn of(pods: &'a [Arc<Pod>]) -> Self {
        let mut map: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !(pod.deleting && pod.has_ended())) {
            if let Some(node) = pod.node.as_ref().or(pod.meant_for.as_ref()) {
                map.entry(node).or_default().push(pod);
            }
        }
        for pods in map.values_mut() {
            pods.sort_by_key(|pod| (pod.created, pod.phase == Phase::Pending, pod.uid.as_str()));
        }
        Self(map)
    }
}

impl Plan {
    /// Keeps one good pod on a node, or two while a newer one gets ready.
    fn keep(&mut self, on: &Situation<'_>, node: &Node, pods: &[&Pod], wanted: bool) {
        let mut running = Vec::new();
        for pod in pods.iter().copied().filter(|pod| !pod.deleting) {
            let key = &pod.key;
            match pod.phase {
                Phase::Failed => self.replace_failed(on, node, pod),
                Phase::Succeeded => {
                    let message = format!(
                        "Found succeeded daemon pod {key} on node {}, will try to delete it",
                        node.name
                    );
                    self.events.push((false, "SucceededDaemonPod", message));
                    self.delete.push(pod.uid.clone());
                }
                _ => running.push(pod),
            }
        }
        if !surges(on.set) {
            self.delete.extend(running.iter().skip(1).map(|pod| pod.uid.clone()));
            return;
        }
        if running.is_empty() {
            if wanted {
                self.create.push(node.name.clone());
            }
            return;
        }
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| is_updated(pod, on.hash));
        self.delete.extend(
            new.iter()
                .chain(&old)
                .filter(|pod| !same(pod, new.first()) && !same(pod, old.first()))
                .map(|pod| pod.uid.clone()),
        );
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (old.ready.is_none() || is_available(on, new))
        {
            self.delete.push(old.uid.clone());
        }
    }

    fn replace_failed(&mut self, on: &Situation<'_>, node: &Node, pod: &Pod) {
        if let Some(failure) = on.failures.get(&node.name) {
            let since = Duration::try_from(on.now.duration_since(failure.last)).unwrap_or_default();
            if let Some(left) = failure.wait.checked_sub(since).filter(|left| !left.is_zero()) {
                self.wait = Some(self.wait.map_or(left, |least| least.min(left)));
                return;
            }
        }
        let message = format!(
            "Found failed daemon pod {} on node {}, will try to kill it",
            pod.key, node.name
        );
        self.events.push((true, "FailedDaemonPod", message));
        self.failed.push(node.name.clone());
        self.delete.push(pod.uid.clone());
    }

    /// The next step of a rollout.
    fn roll(&mut self, on: &Situation<'_>, map: &Map<'_>) {
        let wanted: Vec<&str> = on
            .nodes
            .iter()
            .filter(|node| judge(&on.set.places, node) == Place::Wanted)
            .map(|node| node.name.as_str())
            .collect();
        let total = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
        let surge = amount(&on.set.max_surge, total);
        let unavailable = amount(&on.set.max_unavailable, total);
        let mut pairs: BTreeMap<&str, Option<[Option<&Pod>; 2]>> =
            wanted.iter().map(|name| (*name, Some([None; 2]))).collect();
        for (name, pods) in &map.0 {
            pairs.insert(name, pair(pods, on.hash));
        }
        if surge == 0 {
            // Neither would be no rollout at all.
            self.roll_down(on, &pairs, if unavailable == 0 { 1 } else { unavailable });
        } else {
            self.roll_over(on, &pairs, &wanted, surge);
        }
    }

    /// Deletes old pods, as many as may be missing at a time.
    fn roll_down(&mut self, on: &Situation<'_>, pairs: &BTreeMap<&str, Option<[Option<&Pod>; 2]>>, most: i32) {
        let (mut missing, mut candidates) = (0, Vec::new());
        for pair in pairs.values() {
            match pair {
                Some([Some(new), None]) => missing += i32::from(!is_available(on, new)),
                Some([None, Some(old)]) if is_available(on, old) => candidates.push(old.uid.clone()),
                Some([None, Some(old)]) => {
                    missing += 1;
                    self.delete.push(old.uid.clone());
                }
                _ => missing += 1,
            }
        }
        let may = usize::try_from(most - missing).unwrap_or(0);
        self.delete.extend(candidates.into_iter().take(may));
    }

    /// Makes new pods beside old ones, and deletes the old ones when the new ones are there.
    fn roll_over(
        &mut self,
        on: &Situation<'_>,
        pairs: &BTreeMap<&str, Option<[Option<&Pod>; 2]>>,
        wanted: &[&str],
        most: i32,
    ) {
        let (mut surging, mut available) = (0, 0);
        let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
        for (name, pair) in pairs {
            let Some([new, old]) = pair else {
                surging += 1;
                continue;
            };
            available += usize::from(old.or(*new).is_some_and(|pod| is_available(on, pod)));
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) => match (wanted.contains(name), is_available(on, old)) {
                    (true, true) => candidates.push((*name).to_owned()),
                    (true, false) => self.create.push((*name).to_owned()),
                    (false, true) => misplaced.push(old.uid.clone()),
                    (false, false) => self.delete.push(old.uid.clone()),
                },
                (Some(new), Some(old)) if is_available(on, new) => self.delete.push(old.uid.clone()),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        self.delete
            .extend(misplaced.into_iter().take(available.saturating_sub(wanted.len())));
        self.create.extend(
            candidates
                .into_iter()
                .take(usize::try_from(most - surging).unwrap_or(0)),
        );
    }
}

/// The new and the old pod of a node; none when there are several of a sort.
fn pair<'a>(pods: &[&'a Pod], hash: &str) -> Option<[Option<&'a Pod>; 2]> {
    let mut pair = [None; 2];
    for pod in pods.iter().copied().filter(|pod| !pod.deleting) {
        let place = &mut pair[usize::from(!is_updated(pod, hash))];
        if place.replace(pod).is_some() {
            return None;
        }
    }
    Some(pair)
}

fn same(pod: &Pod, other: Option<&&Pod>) -> bool {
    other.is_some_and(|other| other.uid == pod.uid)
}

fn is_updated(pod: &Pod, hash: &str) -> bool {
    pod.labels.get(HASH).is_some_and(|label| label == hash)
}

fn is_available(on: &Situation<'_>, pod: &Pod) -> bool {
    let long_enough = |since: Timestamp| {
        let needed = i64::from(on.set.min_ready_seconds);
        needed == 0 || since.as_second() + needed <= on.now.as_second()
    };
    pod.ready.is_some_and(long_enough)
}

fn surges(set: &DaemonSet) -> bool {
    !set.on_delete && amount(&set.max_surge, 1) > 0
}

/// A number, or a share of the nodes, rounded up.
fn amount(value: &Value, total: i32) -> i32 {
    let share = value
        .as_str()
        .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match share {
        Some(percent) => i32::try_from((percent * i64::from(total) + 99).div_euclid(100)).unwrap_or(i32::MAX),
        None => value
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .unwrap_or(0),
    }
}

/// The status by the pods, and when it may change without any other change. With `seen`, this generation was acted on.
pub(super) fn status(on: &Situation<'_>, seen: bool) -> (DaemonStatus, Option<Duration>) {
    let map = Map::of(on.pods);
    let mut status = DaemonStatus {
        collisions: on.set.status.collisions,
        observed_generation: if seen {
            on.set.generation
        } else {
            on.set.status.observed_generation
        },
        ..DaemonStatus::default()
    };
    for node in on.nodes {
        let first = map.0.get(node.name.as_str()).and_then(|pods| pods.first());
        if judge(&on.set.places, node) != Place::Wanted {
            status.misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired += 1;
        let Some(pod) = first else { continue };
        status.current += 1;
        status.ready += i32::from(pod.ready.is_some());
        status.available += i32::from(is_available(on, pod));
        status.updated += i32::from(is_updated(pod, on.hash));
    }
    status.unavailable = status.desired - status.available;
    let waits = status.ready != status.available;
    let soon = Duration::from_secs(u64::try_from(on.set.min_ready_seconds).unwrap_or(0).max(1));
    (status, waits.then_some(soon))
}
