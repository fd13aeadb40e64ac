//! What a job needs: pods to create or delete, the status that it has, and pods that are counted and may go. Pure.
//!
//! A pod that has ended is counted in two rounds, so that none is lost or counted twice whenever the controller dies:
//! its uid goes into the status, then its finalizer goes; when the finalizer is seen to be gone, the uid turns into a
//! number. `track.rs` has that part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{self, Backoff};
use super::indexes::Indexes;
use super::policy::{self, has_failed};
use crate::world::{Condition, Job, JobPod, JobStatus, Pod};

/// The most pods that one round creates or deletes.
const BURST: usize = 500;

/// What to do about the pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Create(Vec<NewPod>),
    /// Uids. They don't count as failed unless the job is over.
    Delete {
        uids: Vec<String>,
        over: bool,
    },
}

/// A pod to create.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewPod {
    pub(super) index: Option<i32>,
    /// How often its index failed before, and how often that didn't count, where indexes are judged one by one.
    pub(super) failures: Option<(i32, i32)>,
}

/// One round.
pub(super) struct Plan {
    pub(super) step: Step,
    /// What the status is once the step is done.
    pub(super) status: JobStatus,
    /// Uids of pods whose finalizers may go when the status is written.
    pub(super) release: Vec<String>,
    /// What users are told: whether it is a warning, the reason, the message.
    pub(super) events: Vec<(bool, String, String)>,
    pub(super) backoff: Backoff,
    /// When to look again though nothing has changed.
    pub(super) wait: Option<Duration>,
}

/// What a round knows.
pub(super) struct Round<'a> {
    pub(super) job: &'a Job,
    pub(super) pods: Vec<(&'a Pod, &'a JobPod)>,
    pub(super) active: Vec<&'a Pod>,
    /// Indexes that are counted in the status, and those together with pods that ended since.
    pub(super) counted: Indexes,
    pub(super) succeeded_indexes: Indexes,
    pub(super) failed_indexes: Option<Indexes>,
    /// By index, the failed pod that stays until its successor is there.
    pub(super) held: BTreeMap<i32, (&'a Pod, &'a JobPod)>,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) now: Timestamp,
    pub(super) plan: Plan,
}

/// Plans a round; with `settled`, all that was done before has been seen.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], settled: bool, backoff: &Backoff, now: Timestamp) -> Plan {
    let mut round = Round::new(job, pods, backoff, now);
    let mut verdict = round.verdict();
    if verdict.is_some() {
        let uids: Vec<String> = round.active.iter().map(|pod| pod.uid.clone()).collect();
        round.gone(&uids);
        if !uids.is_empty() {
            round.plan.step = Step::Delete { uids, over: true };
        }
        verdict = verdict.filter(|_| settled);
    } else {
        let managed = settled && !job.deleting;
        if managed {
            round.plan.step = round.manage();
        }
        let done = match job.completions {
            None => round.succeeded > 0 && round.plan.status.active == 0,
            Some(wanted) => round.succeeded >= wanted && round.plan.status.active == 0,
        };
        if done {
            let message = "Reached expected number of succeeded pods";
            verdict = Some(Condition::new(
                "SuccessCriteriaMet",
                true,
                "CompletionsReached",
                message,
                now,
            ));
        } else if managed {
            round.note_suspension();
        }
    }
    round.track(verdict);
    round.plan
}

impl<'a> Round<'a> {
    fn new(job: &'a Job, pods: &'a [Arc<Pod>], backoff: &Backoff, now: Timestamp) -> Self {
        let active: Vec<&Pod> = pods.iter().map(Arc::as_ref).filter(|pod| pod.is_active()).collect();
        let of_jobs = pods.iter().filter_map(|pod| Some((pod.as_ref(), pod.job.as_deref()?)));
        let mut status = job.status.clone();
        status.active = count(active.len());
        status.ready = Some(count(active.iter().filter(|pod| pod.ready.is_some()).count()));
        status.terminating = Some(count(
            pods.iter().filter(|pod| pod.deleting && !pod.has_ended()).count(),
        ));
        if status.started.is_none() && !job.suspended {
            status.started = Some(now);
        }
        let completions = job.completions.unwrap_or(0);
        let mut round = Self {
            job,
            pods: of_jobs.collect(),
            active,
            counted: Indexes::parse(&job.status.completed_indexes, completions),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            held: BTreeMap::new(),
            succeeded: 0,
            failed: 0,
            now,
            plan: Plan {
                step: Step::Nothing,
                status,
                release: Vec::new(),
                events: Vec::new(),
                backoff: backoff.clone(),
                wait: None,
            },
        };
        round.pods.sort_by_key(|(pod, about)| (about.index, pod.uid.as_str()));
        round.count(backoff);
        round
    }

    /// Counts what has ended, with what the status doesn't have yet.
    fn count(&mut self, backoff: &Backoff) {
        let (job, status) = (self.job, &self.job.status);
        let fresh = |known: &[String]| -> Vec<(&'a Pod, &'a JobPod)> {
            let new = |(pod, about): &&(&'a Pod, &'a JobPod)| {
                about.tracked && !known.contains(&pod.uid) && (!job.indexed || self.in_range(about).is_some())
            };
            self.pods.iter().filter(new).copied().collect()
        };
        let mut succeeded = fresh(&status.uncounted_succeeded);
        succeeded.retain(|(pod, _)| pod.phase == crate::world::Phase::Succeeded);
        let mut failed = fresh(&status.uncounted_failed);
        failed.retain(|(pod, _)| has_failed(job, pod));
        let counts = failed
            .iter()
            .filter(|(pod, about)| policy::judge(job, pod, about).counts);
        self.failed = status.failed + count(counts.count()) + count(status.uncounted_failed.len());
        self.succeeded = status.succeeded + count(succeeded.len()) + count(status.uncounted_succeeded.len());
        let times = |pods: &[(&Pod, &JobPod)]| pods.iter().map(|(_, about)| about.finished).collect();
        self.plan.backoff = backoff.after(times(&succeeded), times(&failed));
        if job.indexed {
            let new: BTreeSet<i32> = succeeded.iter().filter_map(|(_, about)| about.index).collect();
            self.succeeded_indexes = self.counted.and(&new.into());
            self.succeeded = self.succeeded_indexes.total();
            self.judge_indexes();
        }
    }

    /// A pod's index, if the job has it.
    pub(super) fn in_range(&self, about: &JobPod) -> Option<i32> {
        about.index.filter(|index| *index < self.job.completions.unwrap_or(0))
    }

    /// Where each index has a limit of its own: which have failed for good, and which wait for their next pod.
    fn judge_indexes(&mut self) {
        let Some(limit) = self.job.backoff_limit_per_index else {
            return;
        };
        let completions = self.job.completions.unwrap_or(0);
        let known = self.job.status.failed_indexes.as_deref().unwrap_or_default();
        let mut new = BTreeSet::new();
        for (pod, about) in self
            .pods
            .iter()
            .filter(|(pod, about)| about.tracked && has_failed(self.job, pod))
        {
            let verdict = policy::judge(self.job, pod, about);
            let fails_index = verdict.action == Some(crate::world::Action::FailIndex);
            if fails_index || verdict.counts && about.failures >= limit {
                new.extend(self.in_range(about));
            }
        }
        let failed = Indexes::parse(known, completions).and(&new.into());
        let active: BTreeSet<i32> = self.active.iter().filter_map(|pod| pod.job.as_ref()?.index).collect();
        for (pod, about) in self.pods.iter().copied() {
            let Some(index) = self.in_range(about) else { continue };
            let over = self.succeeded_indexes.has(index) || failed.has(index) || active.contains(&index);
            if !about.tracked || !has_failed(self.job, pod) || over {
                continue;
            }
            let order = |(_, about): &(&Pod, &JobPod)| (about.failures + about.ignored, about.finished);
            let later = self
                .held
                .get(&index)
                .is_none_or(|held| order(held) <= order(&(pod, about)));
            if later {
                self.held.insert(index, (pod, about));
            }
        }
        self.failed_indexes = Some(failed);
    }

    /// Whether the job is to end before its pods have all succeeded, or has been found so before.
    fn verdict(&mut self) -> Option<Condition> {
        let find = |kind: &str| Condition::find(&self.job.status.conditions, kind).filter(|c| c.is_true());
        if let Some(known) = find("SuccessCriteriaMet").or_else(|| find("FailureTarget")) {
            return Some(known.clone());
        }
        let target =
            |reason: &str, message: &str| Some(Condition::new("FailureTarget", true, reason, message, self.now));
        let failed = self
            .pods
            .iter()
            .filter(|(pod, _)| self.job.failure_policy.is_some() && has_failed(self.job, pod));
        let mut fatal = failed.filter_map(|(pod, about)| policy::judge(self.job, pod, about).fails_job);
        if let Some(message) = fatal.next() {
            return target("PodFailurePolicy", &message);
        }
        if self.failed > self.job.backoff_limit || self.restarted_too_often() {
            return target("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if let (Some(seconds), Some(started), false) =
            (self.job.active_deadline, self.plan.status.started, self.job.suspended)
        {
            let left = started.as_second() + seconds - self.now.as_second();
            if left <= 0 {
                return target("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            self.plan.wait = Some(Duration::from_secs(left.unsigned_abs()));
        }
        self.indexes_verdict()
    }

    fn indexes_verdict(&self) -> Option<Condition> {
        let job = self.job;
        let completions = job.completions.filter(|_| job.indexed)?;
        let target =
            |reason: &str, message: &str| Some(Condition::new("FailureTarget", true, reason, message, self.now));
        let failed = self.failed_indexes.as_ref().map_or(0, Indexes::total);
        if job.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return target("MaxFailedIndexesExceeded", message);
        }
        if failed > 0 && failed + self.succeeded_indexes.total() >= completions {
            return target("FailedIndexes", "Job has failed indexes");
        }
        let rule = policy::success(job, &self.succeeded_indexes, completions)?;
        let message = format!("Matched rules at index {rule}");
        Some(Condition::new(
            "SuccessCriteriaMet",
            true,
            "SuccessPolicy",
            message,
            self.now,
        ))
    }

    /// Containers that are started again in their pods fail without the pod's failing.
    fn restarted_too_often(&self) -> bool {
        let running = self.pods.iter().filter(|(pod, _)| !pod.has_ended());
        let restarts: i32 = running.map(|(_, about)| about.restarts).sum();
        self.job.restarts_in_place && restarts > 0 && restarts >= self.job.backoff_limit
    }

    /// Pods to create or delete while the job goes on.
    fn manage(&mut self) -> Step {
        let (job, active) = (self.job, count(self.active.len()));
        if job.suspended {
            return self.remove(self.active.len());
        }
        let wanted = match job.completions {
            None if self.succeeded > 0 => active,
            None => job.parallelism,
            Some(completions) => (completions - self.succeeded).min(job.parallelism).max(0),
        };
        let surplus = usize::try_from(active - wanted).unwrap_or(0);
        let removal = self.remove(surplus);
        if removal != Step::Nothing {
            return removal;
        }
        let terminating = match job.replaces_failed_only {
            true => self.plan.status.terminating.unwrap_or(0),
            false => 0,
        };
        let missing = usize::try_from(wanted - terminating - active).unwrap_or(0).min(BURST);
        if missing == 0 {
            return Step::Nothing;
        }
        let new = self.new_pods(missing);
        self.plan.status.active += count(new.len());
        if new.is_empty() {
            Step::Nothing
        } else {
            Step::Create(new)
        }
    }

    /// The pods that may be created now; for the others, when to look again.
    fn new_pods(&mut self, missing: usize) -> Vec<NewPod> {
        let per_index = self.job.backoff_limit_per_index.is_some();
        if !per_index && let Some(left) = self.plan.backoff.left(self.now) {
            self.wait(left);
            return Vec::new();
        }
        if !self.job.indexed {
            let plain = |_| NewPod {
                index: None,
                failures: None,
            };
            return (0..missing).map(plain).collect();
        }
        let (mut new, mut soonest) = (Vec::new(), None::<Duration>);
        for index in self.pending(missing) {
            let held = self.held.get(&index).copied();
            let left =
                held.and_then(|(_, about)| backoff::left(about.failures + about.ignored + 1, about.finished, self.now));
            match left {
                Some(left) => soonest = Some(soonest.map_or(left, |least| least.min(left))),
                None => new.push(NewPod {
                    index: Some(index),
                    failures: per_index.then(|| self.failures(held)),
                }),
            }
        }
        if let Some(left) = soonest {
            self.wait(left);
        }
        new
    }

    /// The first indexes that nothing has been done for, or whose pods failed.
    fn pending(&self, missing: usize) -> Vec<i32> {
        let mut taken: BTreeSet<i32> = self.active.iter().filter_map(|pod| pod.job.as_ref()?.index).collect();
        if self.job.replaces_failed_only {
            let going = self.pods.iter().filter(|(pod, _)| pod.deleting && !pod.has_ended());
            taken.extend(going.filter_map(|(_, about)| about.index));
        }
        let mut taken = self.succeeded_indexes.and(&taken.into());
        if let Some(failed) = &self.failed_indexes {
            taken = taken.and(failed);
        }
        taken.missing(missing, self.job.completions.unwrap_or(0))
    }

    /// The counts that a pod begins with which replaces this one.
    fn failures(&self, replaced: Option<(&Pod, &JobPod)>) -> (i32, i32) {
        let Some((pod, about)) = replaced else { return (0, 0) };
        match policy::judge(self.job, pod, about).counts {
            true => (about.failures + 1, about.ignored),
            false => (about.failures, about.ignored + 1),
        }
    }

    fn wait(&mut self, left: Duration) {
        self.plan.wait = Some(self.plan.wait.map_or(left, |least| least.min(left)));
    }

    /// Deletes so many active pods, the least useful first, and those whose index is taken or out of range.
    fn remove(&mut self, at_least: usize) -> Step {
        let mut ranked = self.active.clone();
        ranked.sort_by_key(|pod| rank(pod));
        let (mut doomed, mut left) = (Vec::new(), ranked);
        if self.job.indexed {
            let mut seen = BTreeSet::new();
            // The most useful pod of an index comes last, and stays.
            let (stay, go): (Vec<_>, Vec<_>) = left.into_iter().rev().partition(|pod| {
                let index = pod.job.as_ref().and_then(|about| self.in_range(about));
                index.is_some_and(|index| seen.insert(index))
            });
            (doomed, left) = (go, stay.into_iter().rev().collect());
        }
        doomed.extend(left.into_iter().take(at_least.saturating_sub(doomed.len())));
        doomed.truncate(BURST);
        if doomed.is_empty() {
            return Step::Nothing;
        }
        let uids: Vec<String> = doomed.into_iter().map(|pod| pod.uid.clone()).collect();
        self.gone(&uids);
        Step::Delete { uids, over: false }
    }

    /// Takes account of active pods that are being deleted now.
    fn gone(&mut self, uids: &[String]) {
        let ready = self
            .active
            .iter()
            .filter(|pod| pod.ready.is_some() && uids.contains(&pod.uid))
            .count();
        let status = &mut self.plan.status;
        status.active -= count(uids.len());
        status.ready = status.ready.map(|all| all - count(ready));
        status.terminating = status.terminating.map(|all| all + count(uids.len()));
    }

    /// Says when the job is suspended, and when it goes on.
    fn note_suspension(&mut self) {
        let suspended = self.job.suspended;
        let (reason, message) = match suspended {
            true => ("JobSuspended", "Job suspended"),
            false => ("JobResumed", "Job resumed"),
        };
        let condition = Condition::new("Suspended", suspended, reason, message, self.now);
        if !set(&mut self.plan.status.conditions, condition) {
            return;
        }
        self.plan.status.started = (!suspended).then_some(self.now);
        let event = if suspended { "Suspended" } else { "Resumed" };
        self.plan.events.push((false, event.into(), message.into()));
    }
}

/// Sets a condition, and answers whether that is news. Going from nothing to false means nothing.
pub(super) fn set(conditions: &mut Vec<Condition>, new: Condition) -> bool {
    match conditions.iter_mut().find(|known| known.kind == new.kind) {
        Some(known) if known.status == new.status && known.reason == new.reason => false,
        Some(known) => {
            *known = new;
            true
        }
        None if new.is_true() => {
            conditions.push(new);
            true
        }
        None => false,
    }
}

/// What goes first sorts first.
fn rank(pod: &Pod) -> impl Ord + use<> {
    let ready = pod.ready.map(Reverse);
    (
        (pod.node.is_some(), pod.phase, pod.ready.is_some()),
        (ready, Reverse(pod.restarts), Reverse(pod.created), pod.uid.clone()),
    )
}

pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
