//! Counts pods that have ended, and ends the job when all of them are counted. Pure.

use std::collections::{BTreeSet, HashSet};

use super::plan::{Round, count, set};
use super::policy::{self, has_failed};
use crate::world::{Condition, JobPod, Phase, Pod};

/// The most uids that a status holds.
const UNCOUNTED: usize = 500;

impl Round<'_> {
    /// Brings the status up to date and says which pods may go; `verdict` is why the job ends, if it does.
    pub(super) fn track(&mut self, verdict: Option<Condition>) {
        let tracked: HashSet<&str> = self
            .pods
            .iter()
            .filter(|(_, about)| about.tracked)
            .map(|(pod, _)| pod.uid.as_str())
            .collect();
        let status = &mut self.plan.status;
        let settle = |uncounted: &mut Vec<String>| {
            let before = uncounted.len();
            uncounted.retain(|uid| tracked.contains(uid.as_str()));
            count(before - uncounted.len())
        };
        status.succeeded += settle(&mut status.uncounted_succeeded);
        status.failed += settle(&mut status.uncounted_failed);
        let whole = self.count_ended(verdict.as_ref());
        if let Some(verdict) = verdict {
            self.conclude(verdict, whole);
        }
    }

    /// Notes the pods that have ended; answers whether that was all of them.
    fn count_ended(&mut self, verdict: Option<&Condition>) -> bool {
        let mut new_indexes = BTreeSet::new();
        let mut whole = true;
        for (pod, about) in self.pods.clone() {
            let failed = has_failed(self.job, pod);
            if !about.tracked || !self.may_go(pod, about, failed, verdict.is_some()) {
                continue;
            }
            let status = &self.plan.status;
            if new_indexes.len() + status.uncounted_succeeded.len() + status.uncounted_failed.len() >= UNCOUNTED {
                whole = false;
                break;
            }
            self.plan.release.push(pod.uid.clone());
            let known_failed = self.job.status.uncounted_failed.contains(&pod.uid);
            let fails_all = verdict.is_some_and(|verdict| verdict.kind == "FailureTarget");
            if pod.phase == Phase::Succeeded && !known_failed {
                self.count_success(pod, about, &mut new_indexes);
            } else if (failed || fails_all) && !known_failed {
                self.count_failure(pod, about);
            }
        }
        if self.job.indexed {
            let all = self.counted.and(&new_indexes.into());
            self.plan.status.succeeded = all.total();
            self.plan.status.completed_indexes = all.to_string();
            self.plan.status.failed_indexes = self.failed_indexes.as_ref().map(ToString::to_string);
        }
        whole
    }

    /// Whether a pod's finalizer has no use any more.
    fn may_go(&self, pod: &Pod, about: &JobPod, failed: bool, over: bool) -> bool {
        if self.job.deleting || over || pod.phase == Phase::Succeeded {
            return true;
        }
        let held = about.index.and_then(|index| self.held.get(&index));
        failed && held.is_none_or(|(held, _)| held.uid != pod.uid)
    }

    fn count_success(&mut self, pod: &Pod, about: &JobPod, new_indexes: &mut BTreeSet<i32>) {
        if self.job.indexed {
            // The index is enough to count it once.
            new_indexes.extend(self.in_range(about).filter(|index| !self.counted.has(*index)));
        } else if !self.plan.status.uncounted_succeeded.contains(&pod.uid) {
            self.plan.status.uncounted_succeeded.push(pod.uid.clone());
        }
    }

    fn count_failure(&mut self, pod: &Pod, about: &JobPod) {
        let ours = !self.job.indexed || self.in_range(about).is_some();
        if ours && policy::judge(self.job, pod, about).counts {
            self.plan.status.uncounted_failed.push(pod.uid.clone());
        }
    }

    /// Writes down why the job ends, and that it has ended when no pod is left to count.
    fn conclude(&mut self, verdict: Condition, whole: bool) {
        self.plan.wait = None;
        let now = self.now;
        let success = verdict.kind == "SuccessCriteriaMet";
        set(&mut self.plan.status.conditions, verdict.clone());
        let status = &mut self.plan.status;
        let counted =
            self.plan.release.is_empty() && status.uncounted_succeeded.is_empty() && status.uncounted_failed.is_empty();
        if !whole || !counted || status.terminating.unwrap_or(0) > 0 {
            return;
        }
        let kind = if success { "Complete" } else { "Failed" };
        set(
            &mut status.conditions,
            Condition::new(kind, true, &verdict.reason, verdict.message.clone(), now),
        );
        if success {
            status.completed = Some(now);
            self.plan
                .events
                .push((false, "Completed".into(), "Job completed".into()));
        } else {
            self.plan.events.push((true, verdict.reason, verdict.message));
        }
    }
}
