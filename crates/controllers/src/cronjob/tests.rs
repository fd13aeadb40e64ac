//! Golden scenarios: when jobs are due, what concurrency policies do, what is kept.

use super::plan::plan;
use super::schedule::Schedule;
use super::*;
use crate::world::{Concurrency, Condition, JobStatus};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(schedule: &str) -> CronJob {
    CronJob {
        key: ObjectKey::namespaced("d", "c"),
        uid: "c".into(),
        version: "1".into(),
        created: time("2026-11-24T10:00:30Z"),
        deleting: false,
        schedule: schedule.into(),
        zone: None,
        suspended: false,
        concurrency: Concurrency::Allow,
        deadline: None,
        keep_successful: Some(1),
        keep_failed: Some(1),
        template: r#"{"metadata":{"labels":{"a":"b"}},"spec":{"template":{}}}"#.into(),
        status: CronStatus::default(),
    }
}

fn job(name: &str, end: Option<&str>, started: i64) -> Arc<Job> {
    let at = |second| Timestamp::from_second(second).unwrap();
    let conditions = end.map(|end| Condition::new(end, true, "", "", at(started + 5)));
    Arc::new(Job {
        key: ObjectKey::namespaced("d", name),
        uid: name.into(),
        status: JobStatus {
            started: Some(at(started)),
            completed: (end == Some("Complete")).then(|| at(started + 5)),
            conditions: conditions.into_iter().collect(),
            ..JobStatus::default()
        },
        ..crate::job::testing()
    })
}

fn utc() -> Result<TimeZone, String> {
    Ok(TimeZone::UTC)
}

/// Central European time, by its rule.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn active(name: &str) -> Value {
    json!({ "name": name, "uid": name })
}

fn next(schedule: &str, after: &str, zone: &TimeZone) -> Option<String> {
    let next = Schedule::parse(schedule).unwrap().next(time(after), zone);
    next.map(|next| next.to_string())
}

#[test]
fn schedules_say_when() {
    let cases = [
        ("*/1 * * * *", "2026-11-24T10:00:30Z", "2026-11-24T10:01:00Z"),
        ("*/1 * * * ?", "2026-11-24T10:01:00Z", "2026-11-24T10:02:00Z"),
        ("30 6-16/4 * * 1-5", "2026-11-24T10:31:00Z", "2026-11-24T14:30:00Z"),
        ("30 6-16/4 * * MON-FRI", "2026-11-27T15:00:00Z", "2026-11-30T06:30:00Z"),
        ("0 0 1,15 * *", "2026-11-24T00:00:00Z", "2026-12-01T00:00:00Z"),
        // One of both days is enough, unless one of them stands for all.
        ("0 0 13 * fri", "2026-11-24T00:00:00Z", "2026-11-27T00:00:00Z"),
        ("0 0 */2 * fri", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
        ("5/20 * * * *", "2026-11-24T10:06:00Z", "2026-11-24T10:25:00Z"),
        ("0 12 29 feb *", "2026-11-24T10:06:00Z", "2028-02-29T12:00:00Z"),
        ("@hourly", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"),
        ("@weekly", "2026-11-24T10:00:00Z", "2026-11-29T00:00:00Z"),
        ("@every 1h30m", "2026-11-24T10:00:00.5Z", "2026-11-24T11:30:00Z"),
    ];
    for (schedule, after, expected) in cases {
        assert_eq!(
            next(schedule, after, &TimeZone::UTC).as_deref(),
            Some(expected),
            "{schedule}"
        );
    }
    assert_eq!(next("59 23 31 2 *", "2026-11-24T10:00:00Z", &TimeZone::UTC), None);
    for broken in [
        "",
        "* * * *",
        "60 * * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "x * * * *",
        "@every soon",
    ] {
        assert!(Schedule::parse(broken).is_err(), "{broken}");
    }
}

#[test]
fn local_times_follow_the_clock_on_the_wall() {
    let zone = &berlin();
    assert_eq!(
        next("0 9 * * *", "2026-11-24T10:00:00Z", zone).as_deref(),
        Some("2026-11-25T08:00:00Z")
    );
    assert_eq!(
        next("0 9 * * *", "2026-07-01T10:00:00Z", zone).as_deref(),
        Some("2026-07-02T07:00:00Z")
    );
    // 02:30 doesn't exist on the day when clocks go forward.
    assert_eq!(
        next("30 2 * * *", "2026-03-28T12:00:00Z", zone).as_deref(),
        Some("2026-03-30T00:30:00Z")
    );
}

#[test]
fn a_job_is_started_once_for_its_time() {
    let mut cron = cron("* * * * *");
    let early = plan(&cron, &[], &[], &utc(), time("2026-11-24T10:00:50Z"));
    assert_eq!(
        (early.create, early.wait),
        (None, Some(std::time::Duration::from_millis(10_100)))
    );
    let due = plan(&cron, &[], &[], &utc(), time("2026-11-24T10:01:00.1Z"));
    assert_eq!(due.create, Some(time("2026-11-24T10:01:00Z")));
    assert_eq!(job_name(&cron, time("2026-11-24T10:01:00Z")), "c-29925241".to_owned());
    cron.status.last_schedule = due.create;
    assert_eq!(plan(&cron, &[], &[], &utc(), time("2026-11-24T10:01:30Z")).create, None);
    // Of several that were missed, the newest counts.
    let late = plan(&cron, &[], &[], &utc(), time("2026-11-24T10:09:30Z"));
    assert_eq!(
        (late.create, late.events.len()),
        (Some(time("2026-11-24T10:09:00Z")), 0)
    );
    let very_late = plan(&cron, &[], &[], &utc(), time("2026-11-25T10:09:30Z"));
    assert_eq!(very_late.events[0].1, "TooManyMissedTimes");
    cron.deadline = Some(10);
    assert_eq!(plan(&cron, &[], &[], &utc(), time("2026-11-24T10:09:30Z")).create, None);
    cron.suspended = true;
    cron.deadline = None;
    assert_eq!(plan(&cron, &[], &[], &utc(), time("2026-11-24T10:09:30Z")).create, None);
}

#[test]
fn policies_decide_when_a_job_still_runs() {
    let mut cron = cron("* * * * *");
    cron.status.active = vec![active("old")];
    let (jobs, now) = ([job("old", None, 0)], time("2026-11-24T10:01:10Z"));
    assert!(plan(&cron, &jobs, &[], &utc(), now).create.is_some());
    cron.concurrency = Concurrency::Forbid;
    let forbidden = plan(&cron, &jobs, &[], &utc(), now);
    assert_eq!((forbidden.create, forbidden.events[0].1), (None, "JobAlreadyActive"));
    cron.concurrency = Concurrency::Replace;
    let replaced = plan(&cron, &jobs, &[], &utc(), now);
    assert_eq!(
        (replaced.replace, replaced.status.active.len()),
        (vec!["old".to_owned()], 0)
    );
    assert!(replaced.create.is_some());
}

#[test]
fn ended_jobs_leave_the_status_and_then_go() {
    let mut cron = cron("@yearly");
    cron.status.active = vec![active("a"), active("b"), active("lost")];
    let jobs = [
        job("a", Some("Complete"), 10),
        job("b", Some("Failed"), 20),
        job("c", Some("Complete"), 30),
    ];
    let plan = plan(&cron, &jobs, &["lost".to_owned()], &utc(), time("2026-11-24T10:01:10Z"));
    assert_eq!(plan.delete, ["a"]);
    assert!(plan.status.active.is_empty());
    assert_eq!(plan.status.last_success, Timestamp::from_second(35).ok());
    let reasons: Vec<_> = plan.events.iter().map(|(_, reason, _)| *reason).collect();
    assert_eq!(reasons, ["SawCompletedJob", "MissingJob"]);
}

#[test]
fn jobs_know_their_time() {
    let cron = cron("* * * * *");
    let made = super::job(&cron, time("2026-11-24T10:01:00Z"), TimeZone::UTC).unwrap();
    assert_eq!(made["metadata"]["annotations"][SCHEDULED], "2026-11-24T10:01:00Z");
    assert_eq!(made["metadata"]["labels"], json!({ "a": "b" }));
    let made = super::job(&cron, time("2026-11-24T10:01:00Z"), berlin()).unwrap();
    assert_eq!(made["metadata"]["annotations"][SCHEDULED], "2026-11-24T11:01:00+01:00");
}

#[test]
fn zones_are_looked_up_by_plain_names() {
    assert_eq!(zone::find(None), Ok(TimeZone::UTC));
    assert_eq!(zone::find(Some("UTC")), Ok(TimeZone::UTC));
    for broken in ["../etc/passwd", "/etc/passwd", "", "Nowhere/At-All", "Europe//Berlin"] {
        assert_eq!(
            zone::find(Some(broken)),
            Err(format!("unknown time zone {broken}")),
            "{broken}"
        );
    }
}
