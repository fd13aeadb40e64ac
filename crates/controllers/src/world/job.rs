//! Jobs as small values, and what of their pods only they must know.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::api::DynamicObject;
use meta::ObjectKey;
use meta::labels::Selector;
use serde_json::Value;

use super::model::Condition;
use super::project::{conditions, created, key, number, selector};
use crate::owner::Owner;

/// Keeps a pod until its job has counted it.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The annotation and label with a pod's index.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the pods of an index failed, and how often that didn't count.
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(crate) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) version: String,
    pub(crate) owner: Option<Owner>,
    pub(crate) deleting: bool,
    /// Somebody else manages it.
    pub(crate) foreign: bool,
    pub(crate) parallelism: i32,
    pub(crate) completions: Option<i32>,
    pub(crate) indexed: bool,
    pub(crate) backoff_limit: i32,
    pub(crate) backoff_limit_per_index: Option<i32>,
    pub(crate) max_failed_indexes: Option<i32>,
    /// Seconds.
    pub(crate) active_deadline: Option<i64>,
    /// How long it stays when it has finished, in seconds.
    pub(crate) ttl: Option<i64>,
    pub(crate) suspended: bool,
    /// A pod is replaced only when it has failed, not when it is being deleted.
    pub(crate) replaces_failed_only: bool,
    pub(crate) restarts_in_place: bool,
    pub(crate) selector: Option<Selector>,
    pub(crate) template: Box<str>,
    /// Rules in order; none: every failure counts.
    pub(crate) failure_policy: Option<Vec<FailureRule>>,
    pub(crate) success_policy: Vec<SuccessRule>,
    pub(crate) status: JobStatus,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JobStatus {
    pub(crate) active: i32,
    pub(crate) ready: Option<i32>,
    pub(crate) terminating: Option<i32>,
    pub(crate) succeeded: i32,
    pub(crate) failed: i32,
    pub(crate) started: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
    pub(crate) completed_indexes: String,
    pub(crate) failed_indexes: Option<String>,
    /// Uids of pods that have ended, aren't in the counts yet, and still have their finalizer.
    pub(crate) uncounted_succeeded: Vec<String>,
    pub(crate) uncounted_failed: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
}

/// What a failure that matches means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Ignore,
    FailIndex,
    Count,
    FailJob,
}

#[derive(Debug, Clone)]
pub(crate) struct FailureRule {
    pub(crate) action: Action,
    pub(crate) on: FailureMatch,
}

#[derive(Debug, Clone)]
pub(crate) enum FailureMatch {
    ExitCodes {
        container: Option<String>,
        /// The codes that match, or all others.
        within: bool,
        codes: Vec<i32>,
    },
    /// Types and their status.
    Conditions(Vec<(String, String)>),
}

#[derive(Debug, Clone)]
pub(crate) struct SuccessRule {
    pub(crate) indexes: Option<String>,
    pub(crate) count: Option<i32>,
}

/// What a job must know of its pod.
#[derive(Debug, Clone)]
pub(crate) struct JobPod {
    /// It has the finalizer.
    pub(crate) tracked: bool,
    pub(crate) index: Option<i32>,
    pub(crate) failures: i32,
    pub(crate) ignored: i32,
    pub(crate) finished: Timestamp,
    /// Containers that ended with another code than zero, those that aren't for initialization first.
    pub(crate) exits: Vec<(String, i32)>,
    pub(crate) conditions: Vec<(String, String)>,
    /// Of all its containers together.
    pub(crate) restarts: i32,
}

impl Job {
    /// Whether it is over, one way or the other.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished().is_some()
    }

    /// The condition that says how it ended.
    pub(crate) fn finished(&self) -> Option<&Condition> {
        let ends =
            |condition: &&Condition| matches!(condition.kind.as_str(), "Complete" | "Failed") && condition.is_true();
        self.status.conditions.iter().find(ends)
    }
}

pub(super) fn job(object: &DynamicObject) -> Job {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let manager = spec["managedBy"].as_str();
    Job {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        owner: Owner::of(meta.owner_references.as_ref()),
        deleting: meta.deletion_timestamp.is_some(),
        foreign: manager.is_some_and(|manager| manager != "kubernetes.io/job-controller"),
        parallelism: number(&spec["parallelism"]).unwrap_or(1),
        completions: number(&spec["completions"]),
        indexed: spec["completionMode"] == "Indexed",
        backoff_limit: number(&spec["backoffLimit"]).unwrap_or(6),
        backoff_limit_per_index: number(&spec["backoffLimitPerIndex"]),
        max_failed_indexes: number(&spec["maxFailedIndexes"]),
        active_deadline: spec["activeDeadlineSeconds"].as_i64(),
        ttl: spec["ttlSecondsAfterFinished"].as_i64(),
        suspended: spec["suspend"] == true,
        replaces_failed_only: spec["podReplacementPolicy"] == "Failed",
        restarts_in_place: spec["template"]["spec"]["restartPolicy"] == "OnFailure",
        selector: selector(&spec["selector"]),
        template: spec["template"].to_string().into(),
        failure_policy: spec["podFailurePolicy"]["rules"]
            .as_array()
            .map(|rules| rules.iter().filter_map(failure_rule).collect()),
        success_policy: each(&spec["successPolicy"]["rules"]).map(success_rule).collect(),
        status: job_status(status),
    }
}

fn job_status(status: &Value) -> JobStatus {
    let count = |name: &str| number(&status[name]).unwrap_or(0);
    let time = |name: &str| status[name].as_str().and_then(|text| text.parse().ok());
    let uids = |name: &str| {
        each(&status["uncountedTerminatedPods"][name])
            .filter_map(text)
            .collect()
    };
    let mut known = conditions(&status["conditions"]);
    // A job's conditions say when they were probed.
    for (condition, value) in known.iter_mut().zip(each(&status["conditions"])) {
        condition.updated = value["lastProbeTime"].as_str().and_then(|text| text.parse().ok());
    }
    JobStatus {
        active: count("active"),
        ready: number(&status["ready"]),
        terminating: number(&status["terminating"]),
        succeeded: count("succeeded"),
        failed: count("failed"),
        started: time("startTime"),
        completed: time("completionTime"),
        completed_indexes: text(&status["completedIndexes"]).unwrap_or_default(),
        failed_indexes: text(&status["failedIndexes"]),
        uncounted_succeeded: uids("succeeded"),
        uncounted_failed: uids("failed"),
        conditions: known,
    }
}

fn failure_rule(rule: &Value) -> Option<FailureRule> {
    let action = match rule["action"].as_str()? {
        "Ignore" => Action::Ignore,
        "FailIndex" => Action::FailIndex,
        "Count" => Action::Count,
        "FailJob" => Action::FailJob,
        _ => return None,
    };
    let codes = &rule["onExitCodes"];
    let on = if codes.is_object() {
        FailureMatch::ExitCodes {
            container: text(&codes["containerName"]),
            within: codes["operator"] == "In",
            codes: each(&codes["values"]).filter_map(number).collect(),
        }
    } else {
        let pattern = |value: &Value| Some((text(&value["type"])?, text(&value["status"])?));
        FailureMatch::Conditions(each(&rule["onPodConditions"]).filter_map(pattern).collect())
    };
    Some(FailureRule { action, on })
}

fn success_rule(rule: &Value) -> SuccessRule {
    SuccessRule {
        indexes: text(&rule["succeededIndexes"]),
        count: number(&rule["succeededCount"]),
    }
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What a job knows of a pod; none for pods of others.
pub(super) fn job_pod(pod: &core::Pod, owner: Option<&Owner>) -> Option<Box<JobPod>> {
    let meta = &pod.metadata;
    let tracked = meta.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING);
    if !tracked && owner.is_none_or(|owner| owner.kind != "Job") {
        return None;
    }
    let note = |name: &str| {
        meta.annotations
            .as_ref()?
            .get(name)?
            .parse::<i32>()
            .ok()
            .filter(|number| *number >= 0)
    };
    let status = pod.status.as_ref();
    let containers = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let initial = status
        .and_then(|status| status.init_container_statuses.as_deref())
        .unwrap_or_default();
    let exits = containers.iter().chain(initial).filter_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then(|| (container.name.clone(), ended.exit_code))
    });
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    Some(Box::new(JobPod {
        tracked,
        index: note(INDEX),
        failures: note(FAILURES).unwrap_or(0),
        ignored: note(IGNORED).unwrap_or(0),
        finished: finished(pod, containers, conditions),
        exits: exits.collect(),
        conditions: conditions.iter().map(|c| (c.type_.clone(), c.status.clone())).collect(),
        restarts: containers
            .iter()
            .chain(initial)
            .map(|container| container.restart_count)
            .sum(),
    }))
}

/// When a pod ended: its last container, else since when it isn't ready, else when its deletion began.
fn finished(pod: &core::Pod, containers: &[core::ContainerStatus], conditions: &[core::PodCondition]) -> Timestamp {
    let end = |container: &core::ContainerStatus| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        ended.finished_at.as_ref().map(|time| time.0)
    };
    let ends: Option<Vec<Timestamp>> = containers.iter().map(end).collect();
    let unready = || {
        let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "False")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let meta = &pod.metadata;
    let deleted = || {
        let grace = jiff::SignedDuration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(0));
        meta.deletion_timestamp.as_ref().map(|time| time.0 - grace)
    };
    ends.and_then(|ends| ends.into_iter().max())
        .or_else(unready)
        .or_else(deleted)
        .unwrap_or_else(|| created(meta))
}
