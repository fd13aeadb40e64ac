//! Cron jobs as small values.

use jiff::Timestamp;
use kube::api::DynamicObject;
use meta::ObjectKey;
use serde_json::Value;

use super::project::{created, key, number};

#[derive(Debug, Clone)]
pub(crate) struct CronJob {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) version: String,
    pub(crate) created: Timestamp,
    pub(crate) deleting: bool,
    pub(crate) schedule: String,
    pub(crate) zone: Option<String>,
    pub(crate) suspended: bool,
    pub(crate) concurrency: Concurrency,
    /// How late a job may still be started, in seconds.
    pub(crate) deadline: Option<i64>,
    /// How many ended jobs stay; none: all.
    pub(crate) keep_successful: Option<i32>,
    pub(crate) keep_failed: Option<i32>,
    /// The jobs' template as compact JSON.
    pub(crate) template: Box<str>,
    pub(crate) status: CronStatus,
}

/// What happens when a job still runs and the next one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concurrency {
    Allow,
    Forbid,
    Replace,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CronStatus {
    /// References to the jobs that run, as they stand in the status.
    pub(crate) active: Vec<Value>,
    pub(crate) last_schedule: Option<Timestamp>,
    pub(crate) last_success: Option<Timestamp>,
}

pub(super) fn cron_job(object: &DynamicObject) -> CronJob {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let time = |name: &str| status[name].as_str().and_then(|text| text.parse().ok());
    CronJob {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        created: created(meta),
        deleting: meta.deletion_timestamp.is_some(),
        schedule: spec["schedule"].as_str().unwrap_or_default().to_owned(),
        zone: spec["timeZone"].as_str().map(str::to_owned),
        suspended: spec["suspend"] == true,
        concurrency: match spec["concurrencyPolicy"].as_str() {
            Some("Forbid") => Concurrency::Forbid,
            Some("Replace") => Concurrency::Replace,
            _ => Concurrency::Allow,
        },
        deadline: spec["startingDeadlineSeconds"].as_i64(),
        keep_successful: number(&spec["successfulJobsHistoryLimit"]),
        keep_failed: number(&spec["failedJobsHistoryLimit"]),
        template: spec["jobTemplate"].to_string().into(),
        status: CronStatus {
            active: status["active"].as_array().cloned().unwrap_or_default(),
            last_schedule: time("lastScheduleTime"),
            last_success: time("lastSuccessfulTime"),
        },
    }
}
