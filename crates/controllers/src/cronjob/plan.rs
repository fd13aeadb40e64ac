//! What a cron job needs: the job that is due, old ones taken away, and its status. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::schedule::Schedule;
use crate::world::{Concurrency, CronJob, CronStatus, Job};

/// A little later than the time itself, so that it has surely come.
const AFTER: Duration = Duration::from_millis(100);
/// So many missed times are worth a warning.
const MANY: i64 = 100;

/// What to do in a round.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Uids of ended jobs that nobody keeps.
    pub(super) delete: Vec<String>,
    /// Uids of running jobs that the new one replaces.
    pub(super) replace: Vec<String>,
    /// The time for which a job is to be created.
    pub(super) create: Option<Timestamp>,
    /// The status before a job is created.
    pub(super) status: CronStatus,
    /// What users are told: whether it is a warning, the reason, the message.
    pub(super) events: Vec<(bool, &'static str, String)>,
    /// When to look again.
    pub(super) wait: Option<Duration>,
}

/// The times of a schedule that have come since a job was last started.
struct Due {
    /// The newest of them.
    time: Option<Timestamp>,
    missed: i64,
    /// From where the next time is looked for.
    from: Timestamp,
}

/// Plans a round; `gone` has the uids of jobs that are in the status and nowhere else.
pub(super) fn plan(
    cron: &CronJob,
    jobs: &[Arc<Job>],
    gone: &[String],
    zone: &Result<TimeZone, String>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan {
        status: cron.status.clone(),
        ..Plan::default()
    };
    plan.clean_up(cron, jobs);
    plan.look_at(jobs, gone);
    if cron.deleting {
        return plan;
    }
    let zone = match zone {
        Ok(zone) => zone,
        Err(error) => {
            let message = format!(
                "invalid timeZone: {:?}: {error}",
                cron.zone.as_deref().unwrap_or_default()
            );
            plan.events.push((true, "UnknownTimeZone", message));
            return plan;
        }
    };
    if cron.suspended {
        return plan;
    }
    match Schedule::parse(&cron.schedule) {
        Ok(schedule) => plan.start(cron, &schedule, zone, now),
        Err(error) => {
            let message = format!("unparseable schedule: {:?} : {error}", cron.schedule);
            plan.events.push((true, "UnparseableSchedule", message));
        }
    }
    plan
}

impl Plan {
    /// Marks ended jobs beyond the limits, the oldest first.
    fn clean_up(&mut self, cron: &CronJob, jobs: &[Arc<Job>]) {
        for (end, keep) in [("Complete", cron.keep_successful), ("Failed", cron.keep_failed)] {
            let Some(keep) = keep else { continue };
            let ended = |job: &&Arc<Job>| job.finished().is_some_and(|condition| condition.kind == end);
            let mut ended: Vec<_> = jobs.iter().filter(ended).collect();
            ended.sort_by_key(|job| (job.status.started, job.key.name.clone()));
            let surplus = ended.len().saturating_sub(usize::try_from(keep).unwrap_or(0));
            for job in ended.into_iter().take(surplus) {
                self.forget(&job.uid);
                self.delete.push(job.uid.clone());
            }
        }
    }

    /// Takes note of jobs that have ended or are gone.
    fn look_at(&mut self, jobs: &[Arc<Job>], gone: &[String]) {
        for job in jobs {
            let known = self
                .status
                .active
                .iter()
                .any(|active| active["uid"] == job.uid.as_str());
            let name = &job.key.name;
            match job.finished() {
                None if !known => {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.events.push((true, "UnexpectedJob", message));
                }
                None => {}
                Some(end) => {
                    if known {
                        self.forget(&job.uid);
                        let message = format!("Saw completed job: {name}, condition: {}", end.kind);
                        self.events.push((false, "SawCompletedJob", message));
                    }
                    let completed = job.status.completed.filter(|_| end.kind == "Complete");
                    self.status.last_success = self.status.last_success.max(completed);
                }
            }
        }
        for uid in gone {
            if let Some(active) = self.status.active.iter().find(|active| active["uid"] == uid.as_str()) {
                let message = format!(
                    "Active job went missing: {}",
                    active["name"].as_str().unwrap_or_default()
                );
                self.events.push((false, "MissingJob", message));
                self.forget(uid);
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        self.status.active.retain(|active| active["uid"] != uid);
    }

    /// Starts the job that is due, unless something speaks against it.
    fn start(&mut self, cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) {
        let Some(due) = due(cron, schedule, zone, now, true) else {
            let message = format!("invalid schedule: {} : it never comes", cron.schedule);
            self.events.push((true, "InvalidSchedule", message));
            return;
        };
        self.wait = next(cron, schedule, zone, now);
        let Some(time) = due.time else { return };
        if due.missed > MANY {
            let message =
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.events.push((true, "TooManyMissedTimes", message.into()));
        }
        let late = |seconds: i64| time.as_second().saturating_add(seconds) < now.as_second();
        if cron.deadline.is_some_and(late) {
            let message = format!(
                "Missed scheduled time to start a job: {}",
                time.strftime("%a, %d %b %Y %H:%M:%S +0000")
            );
            self.events.push((true, "MissSchedule", message));
            return;
        }
        let name = job_name(cron, time);
        let started = self.status.active.iter().any(|active| active["name"] == name.as_str());
        if started || self.status.last_schedule == Some(time) {
            return;
        }
        if cron.concurrency == Concurrency::Forbid && !self.status.active.is_empty() {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.events.push((false, "JobAlreadyActive", message.into()));
            return;
        }
        if cron.concurrency == Concurrency::Replace {
            let uids = self
                .status
                .active
                .iter()
                .filter_map(|active| active["uid"].as_str().map(str::to_owned));
            self.replace = uids.collect();
            self.status.active.clear();
        }
        self.create = Some(time);
    }
}

/// The times that have come; none when the schedule never comes.
fn due(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp, in_time: bool) -> Option<Due> {
    let mut from = cron.status.last_schedule.unwrap_or(cron.created);
    if let Some(seconds) = cron.deadline.filter(|_| in_time) {
        from = from.max(now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(from));
    }
    let first = schedule.next(from, zone)?;
    let second = schedule.next(first, zone)?;
    let found = |time, missed| Some(Due { time, missed, from });
    if now < first {
        return found(None, 0);
    }
    if now < second {
        return found(Some(first), 0);
    }
    let between = (second.as_second() - first.as_second()).max(1);
    let missed = (now.as_second() - first.as_second()) / between + 1;
    // Near the end, so that years of missed times cost nothing.
    let near = Timestamp::from_second(first.as_second() + (missed - 2) * between).ok()?;
    let mut newest = None;
    let mut time = schedule.next(near, zone);
    while let Some(next) = time.filter(|time| *time <= now) {
        newest = Some(next);
        time = schedule.next(next, zone);
    }
    found(newest, missed)
}

/// How long it is until the next time.
fn next(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Duration> {
    let due = due(cron, schedule, zone, now, false)?;
    let from = match due.time {
        Some(time) => time,
        None if due.missed == 0 => due.from,
        None => now,
    };
    let next = schedule.next(from, zone)?;
    let left = Duration::try_from(next.duration_since(now)).unwrap_or_default();
    Some(left + AFTER)
}

/// The name of the job for a time: the same one whenever it is asked for.
pub(super) fn job_name(cron: &CronJob, time: Timestamp) -> String {
    format!("{}-{}", cron.key.name, time.as_second() / 60)
}

/// What the status says of a running job.
pub(super) fn reference(job: &Value) -> Value {
    let metadata = &job["metadata"];
    serde_json::json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "name": metadata["name"], "namespace": metadata["namespace"],
        "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"],
    })
}
