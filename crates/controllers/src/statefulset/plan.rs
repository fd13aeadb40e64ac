//! What a stateful set needs: its pods one after the other in the order of their numbers, or all at once, the newest of
//! them from the highest number down, and its status. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::world::{Phase, Pod, StatefulSet, StatefulStatus};

/// The label of a pod that names the revision it is of.
pub(super) const REVISION: &str = "controller-revision-hash";
/// The label of a pod with its own name.
pub(super) const NAME: &str = "statefulset.kubernetes.io/pod-name";

/// One thing to do; they are done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A pod of this number, of the current revision or the new one.
    Create { ordinal: i32, current: bool },
    /// A pod by its uid.
    Delete(String),
    /// See to it that the pod of this number has its claims.
    Claim(i32),
    /// A pod, by its uid, has lost what tells who it is.
    Name(String),
}

/// A round.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: StatefulStatus,
    /// When to look again though nothing has changed.
    pub(super) wait: Option<Duration>,
}

/// What a round works with.
struct Round<'a> {
    set: &'a StatefulSet,
    /// A place for each number that is wanted.
    replicas: Vec<Option<&'a Pod>>,
    /// Pods of other numbers, the highest first.
    condemned: Vec<&'a Pod>,
    now: Timestamp,
    plan: Plan,
}

/// The number of a set's pod by its name.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// Plans a round for the pods that the set owns. Unless all that was done before has been seen (`settled`), only the
/// status is brought up to date.
pub(super) fn plan(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    revisions: (&str, &str),
    settled: bool,
    now: Timestamp,
) -> Plan {
    let mut round = Round::new(set, pods, now);
    round.count(revisions);
    if settled && !set.deleting && round.keep().is_some() && round.condemn().is_some() && !set.on_delete {
        round.update(revisions.1);
    }
    round.complete();
    round.plan
}

impl<'a> Round<'a> {
    fn new(set: &'a StatefulSet, pods: &'a [Arc<Pod>], now: Timestamp) -> Self {
        let mut replicas = vec![None; usize::try_from(set.replicas).unwrap_or(0)];
        let mut condemned = Vec::new();
        for pod in pods {
            let Some(ordinal) = ordinal(&set.key.name, &pod.key.name) else {
                continue;
            };
            let place = usize::try_from(i64::from(ordinal) - i64::from(set.start)).ok();
            match place.and_then(|place| replicas.get_mut(place)) {
                Some(place) => *place = Some(pod.as_ref()),
                None => condemned.push((ordinal, pod.as_ref())),
            }
        }
        condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        Self {
            set,
            replicas,
            condemned: condemned.into_iter().map(|(_, pod)| pod).collect(),
            now,
            plan: Plan::default(),
        }
    }

    fn count(&mut self, (current, update): (&str, &str)) {
        let mut status = StatefulStatus {
            observed_generation: self.set.generation,
            current_revision: current.to_owned(),
            update_revision: update.to_owned(),
            collisions: self.set.status.collisions,
            ..StatefulStatus::default()
        };
        let mut soonest = None;
        for pod in self.replicas.iter().flatten().chain(&self.condemned) {
            status.replicas += 1;
            status.ready += i32::from(is_ready(pod));
            status.available += i32::from(self.is_available(pod));
            status.current += i32::from(!pod.deleting && is_of(pod, current));
            status.updated += i32::from(!pod.deleting && is_of(pod, update));
            if is_ready(pod) && !self.is_available(pod) {
                let since = pod.ready.map_or(0, |since| self.now.as_second() - since.as_second());
                let left = i64::from(self.set.min_ready_seconds) - since;
                soonest = Some(soonest.map_or(left, |least: i64| least.min(left)));
            }
        }
        self.plan.status = status;
        self.plan.wait = soonest.map(|left| Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)));
    }

    /// Makes and mends the pods that are wanted. None: wait before anything else is done.
    fn keep(&mut self) -> Option<()> {
        let in_order = !self.set.parallel;
        for place in 0..self.replicas.len() {
            let ordinal = self.set.start + i32::try_from(place).ok()?;
            let Some(pod) = self.replicas[place] else {
                let current = !self.set.on_delete && ordinal < self.set.start + self.set.partition;
                self.plan.steps.push(Step::Create { ordinal, current });
                if in_order {
                    return None;
                }
                continue;
            };
            if pod.has_ended() {
                if !pod.deleting {
                    self.plan.steps.push(Step::Delete(pod.uid.clone()));
                }
                if in_order {
                    return None;
                }
                continue;
            }
            if pod.phase == Phase::Pending {
                self.plan.steps.push(Step::Claim(ordinal));
            }
            if in_order && (pod.deleting || !self.is_available(pod)) {
                return None;
            }
            if pod.labels.get(NAME) != Some(&pod.key.name) {
                self.plan.steps.push(Step::Name(pod.uid.clone()));
            }
        }
        Some(())
    }

    /// Deletes pods that aren't wanted any more, the highest number first.
    fn condemn(&mut self) -> Option<()> {
        let in_order = !self.set.parallel;
        let first_bad = self.first_unavailable().map(|pod| pod.uid.clone());
        for pod in self.condemned.clone() {
            if in_order && (pod.deleting || !self.is_available(pod) && first_bad.as_ref() != Some(&pod.uid)) {
                return None;
            }
            if !pod.deleting {
                self.plan.steps.push(Step::Delete(pod.uid.clone()));
                if in_order {
                    return None;
                }
            }
        }
        Some(())
    }

    /// The first pod that isn't well, by its number; those that aren't wanted come last.
    fn first_unavailable(&self) -> Option<&'a Pod> {
        let mut all = self.replicas.iter().flatten().chain(self.condemned.iter().rev());
        all.find(|pod| self.is_unavailable(pod)).copied()
    }

    /// Deletes pods of older revisions, from the highest number down, as many as may be missing at a time.
    fn update(&mut self, update: &str) {
        let most = self.most_unavailable();
        let unavailable = self
            .replicas
            .iter()
            .filter(|place| place.is_none_or(|pod| self.is_unavailable(pod)))
            .count();
        let first = usize::try_from(self.set.partition - self.set.start).unwrap_or(0);
        let old = |pod: &&'a Pod| !is_of(pod, update) && !pod.deleting;
        let mut old: Vec<&Pod> = self
            .replicas
            .iter()
            .skip(first)
            .rev()
            .flatten()
            .copied()
            .filter(old)
            .collect();
        let mut budget = most.saturating_sub(unavailable);
        if self.set.parallel {
            // Those that aren't available anyway cost nothing.
            let (good, bad): (Vec<_>, Vec<_>) = old.into_iter().partition(|pod| self.is_available(pod));
            budget += bad.len();
            old = bad.into_iter().chain(good).collect();
        }
        for pod in old.into_iter().take(budget) {
            self.plan.steps.push(Step::Delete(pod.uid.clone()));
            if is_of(pod, &self.plan.status.current_revision) {
                self.plan.status.current -= 1;
            }
        }
    }

    /// How many pods may be missing while the set is updated: at least one; shares are rounded down.
    fn most_unavailable(&self) -> usize {
        let value: &Value = &self.set.max_unavailable;
        let share = value
            .as_str()
            .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
        let number = match share {
            Some(percent) => percent * i64::from(self.set.replicas) / 100,
            None => value.as_i64().unwrap_or(1),
        };
        usize::try_from(number).unwrap_or(1).max(1)
    }

    /// When all pods are of the new revision and well, it is the current one.
    fn complete(&mut self) {
        let (wanted, status) = (self.set.replicas, &mut self.plan.status);
        if [status.updated, status.ready, status.replicas] == [wanted; 3] {
            status.current = status.updated;
            status.current_revision = status.update_revision.clone();
        }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let needed = i64::from(self.set.min_ready_seconds);
        let long = |since: Timestamp| needed == 0 || since.as_second() + needed <= self.now.as_second();
        is_ready(pod) && pod.ready.is_some_and(long)
    }

    fn is_unavailable(&self, pod: &Pod) -> bool {
        pod.deleting || !self.is_available(pod)
    }
}

fn is_ready(pod: &Pod) -> bool {
    pod.phase == Phase::Running && pod.ready.is_some()
}

fn is_of(pod: &Pod, revision: &str) -> bool {
    pod.labels.get(REVISION).is_some_and(|label| label == revision)
}
