//! Golden scenarios: what is created and deleted, how pods are counted, how a job ends.

use std::collections::BTreeSet;

use super::indexes::Indexes;
use super::plan::{Plan, Step, plan};
use super::*;
use crate::testing::{at, pod};
use crate::world::{Action, FailureMatch, FailureRule, JobPod, Phase, SuccessRule};

pub(super) fn job(parallelism: i32, completions: i32) -> Job {
    Job {
        key: ObjectKey::namespaced("d", "j"),
        uid: "j".into(),
        version: "1".into(),
        owner: None,
        deleting: false,
        foreign: false,
        parallelism,
        completions: Some(completions),
        indexed: false,
        backoff_limit: 6,
        backoff_limit_per_index: None,
        max_failed_indexes: None,
        active_deadline: None,
        ttl: None,
        suspended: false,
        replaces_failed_only: false,
        restarts_in_place: false,
        selector: None,
        template: "{}".into(),
        failure_policy: None,
        success_policy: Vec::new(),
        status: JobStatus::default(),
    }
}

fn indexed(parallelism: i32, completions: i32) -> Job {
    Job {
        indexed: true,
        ..job(parallelism, completions)
    }
}

fn worker(name: &str, phase: Phase) -> Pod {
    let about = JobPod {
        tracked: true,
        index: None,
        failures: 0,
        ignored: 0,
        finished: at(100),
        exits: Vec::new(),
        conditions: Vec::new(),
        restarts: 0,
    };
    Pod {
        phase,
        job: Some(Box::new(about)),
        ..pod(name)
    }
}

fn at_index(name: &str, phase: Phase, index: i32) -> Pod {
    with(worker(name, phase), |about| about.index = Some(index))
}

fn with(mut pod: Pod, change: impl FnOnce(&mut JobPod)) -> Pod {
    change(pod.job.as_mut().unwrap());
    pod
}

fn round(job: &Job, pods: &[Pod], now: i64) -> Plan {
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    plan(job, &pods, true, &Backoff::default(), at(now))
}

fn indexes(step: &Step) -> Vec<i32> {
    match step {
        Step::Create(new) => new.iter().filter_map(|pod| pod.index).collect(),
        other => panic!("creates nothing: {other:?}"),
    }
}

fn kinds(status: &JobStatus) -> Vec<(&str, &str)> {
    status
        .conditions
        .iter()
        .map(|c| (c.kind.as_str(), c.reason.as_str()))
        .collect()
}

#[test]
fn as_many_pods_run_as_are_still_to_succeed() {
    let made = |job: &Job, pods: &[Pod]| match round(job, pods, 1_000).step {
        Step::Create(new) => new.len(),
        _ => 0,
    };
    assert_eq!(made(&job(2, 5), &[]), 2);
    assert_eq!(made(&job(2, 5), &[worker("a", Phase::Running)]), 1);
    let mut nearly = job(3, 5);
    nearly.status.succeeded = 4;
    assert_eq!(made(&nearly, &[]), 1);
    // Without a number, the first success ends it.
    let mut open = job(3, 0);
    open.completions = None;
    assert_eq!(made(&open, &[]), 3);
    assert_eq!(
        made(&open, &[worker("a", Phase::Succeeded), worker("b", Phase::Running)]),
        0
    );
    let fewer = round(
        &job(1, 5),
        &[worker("a", Phase::Running), worker("b", Phase::Pending)],
        0,
    );
    let gone = vec!["b".to_owned()];
    assert_eq!(
        fewer.step,
        Step::Delete {
            uids: gone,
            over: false
        }
    );
    assert_eq!((fewer.status.active, fewer.status.terminating), (1, Some(1)));
}

#[test]
fn a_pod_is_counted_once_through_its_finalizer() {
    let mut job = job(1, 2);
    let first = round(&job, &[worker("a", Phase::Succeeded)], 1_000);
    assert_eq!(
        (&*first.release, &*first.status.uncounted_succeeded),
        (&["a".to_owned()][..], &["a".to_owned()][..])
    );
    assert_eq!(first.status.succeeded, 0);
    // The status is there, the finalizer too: nothing is counted again, the removal is repeated.
    job.status = first.status;
    let again = round(
        &job,
        &[worker("a", Phase::Succeeded), worker("b", Phase::Running)],
        1_000,
    );
    assert_eq!((again.status.uncounted_succeeded.len(), again.release.len()), (1, 1));
    // The finalizer is gone: the uid turns into a number.
    job.status = again.status;
    let freed = with(worker("a", Phase::Succeeded), |about| about.tracked = false);
    let last = round(&job, &[freed.clone(), worker("b", Phase::Running)], 1_000);
    assert_eq!(
        (
            last.status.succeeded,
            last.status.uncounted_succeeded.len(),
            last.release.len()
        ),
        (1, 0, 0)
    );
    job.status = last.status;
    assert_eq!(
        round(&job, &[freed, worker("b", Phase::Running)], 1_000).status,
        job.status
    );
}

#[test]
fn it_completes_when_all_are_counted() {
    let mut job = job(1, 1);
    let first = round(&job, &[worker("a", Phase::Succeeded)], 1_000);
    assert_eq!(kinds(&first.status), [("SuccessCriteriaMet", "CompletionsReached")]);
    assert!(first.status.completed.is_none() && first.events.is_empty());
    job.status = first.status;
    let freed = with(worker("a", Phase::Succeeded), |about| about.tracked = false);
    let last = round(&job, &[freed], 1_010);
    assert_eq!(
        kinds(&last.status),
        [
            ("SuccessCriteriaMet", "CompletionsReached"),
            ("Complete", "CompletionsReached")
        ]
    );
    assert_eq!((last.status.succeeded, last.status.completed), (1, Some(at(1_010))));
    assert_eq!(last.events, [(false, "Completed".into(), "Job completed".into())]);
}

#[test]
fn failures_are_waited_out_and_end_it_beyond_the_limit() {
    let failed = [worker("a", Phase::Failed)];
    let waits = round(&job(1, 1), &failed, 103);
    assert_eq!(
        (&waits.step, waits.wait),
        (&Step::Nothing, Some(std::time::Duration::from_secs(7)))
    );
    assert_eq!(waits.status.uncounted_failed, ["a"]);
    assert!(matches!(round(&job(1, 1), &failed, 111).step, Step::Create(_)));

    let mut strict = job(2, 2);
    strict.backoff_limit = 0;
    let over = round(&strict, &[worker("a", Phase::Failed), worker("b", Phase::Running)], 200);
    assert_eq!(kinds(&over.status), [("FailureTarget", "BackoffLimitExceeded")]);
    let doomed = vec!["b".to_owned()];
    assert_eq!(
        over.step,
        Step::Delete {
            uids: doomed,
            over: true
        }
    );
    // What is deleted then counts as failed.
    assert_eq!(over.status.uncounted_failed, ["a", "b"]);
    assert_eq!((over.status.active, over.status.terminating), (0, Some(1)));
    strict.status = over.status;
    let mut going = with(worker("b", Phase::Running), |about| about.tracked = false);
    going.deleting = true;
    let freed = with(worker("a", Phase::Failed), |about| about.tracked = false);
    let waits = round(&strict, &[freed.clone(), going], 210);
    assert_eq!(kinds(&waits.status).len(), 1, "a pod still runs");
    strict.status = waits.status;
    let end = round(&strict, &[freed], 220);
    assert_eq!(kinds(&end.status)[1], ("Failed", "BackoffLimitExceeded"));
    assert_eq!(end.status.failed, 2);
    assert!(end.events[0].0);
}

#[test]
fn nothing_is_decided_on_what_is_not_seen_yet() {
    let pods = [Arc::new(worker("a", Phase::Succeeded))];
    let plan = plan(&job(1, 5), &pods, false, &Backoff::default(), at(1_000));
    assert_eq!(plan.step, Step::Nothing);
    assert_eq!(plan.status.uncounted_succeeded, ["a"]);
}

#[test]
fn deadlines_and_restarts_in_place_end_it() {
    let mut job = job(1, 1);
    job.active_deadline = Some(30);
    job.status.started = Some(at(100));
    assert_eq!(
        round(&job, &[worker("a", Phase::Running)], 110).wait,
        Some(std::time::Duration::from_secs(20))
    );
    let over = round(&job, &[worker("a", Phase::Running)], 130);
    assert_eq!(kinds(&over.status), [("FailureTarget", "DeadlineExceeded")]);
    job.active_deadline = None;
    job.restarts_in_place = true;
    let restarted = |times| with(worker("a", Phase::Running), |about| about.restarts = times);
    assert!(round(&job, &[restarted(5)], 130).status.conditions.is_empty());
    assert_eq!(
        kinds(&round(&job, &[restarted(6)], 130).status),
        [("FailureTarget", "BackoffLimitExceeded")]
    );
}

#[test]
fn suspension_deletes_pods_and_resets_the_start() {
    let mut job = job(1, 1);
    job.suspended = true;
    job.status.started = Some(at(1));
    let plan = round(&job, &[worker("a", Phase::Running)], 10);
    let uids = vec!["a".to_owned()];
    assert_eq!(plan.step, Step::Delete { uids, over: false });
    assert_eq!(
        (kinds(&plan.status), plan.status.started),
        (vec![("Suspended", "JobSuspended")], None)
    );
    job.status = plan.status;
    job.suspended = false;
    let resumed = round(&job, &[], 20);
    assert_eq!(
        (kinds(&resumed.status), resumed.status.started),
        (vec![("Suspended", "JobResumed")], Some(at(20)))
    );
    assert!(matches!(resumed.step, Step::Create(_)));
}

#[test]
fn each_index_is_done_once() {
    let job = indexed(3, 5);
    let pods = [at_index("a", Phase::Succeeded, 0), at_index("b", Phase::Running, 2)];
    let plan = round(&job, &pods, 1_000);
    assert_eq!(indexes(&plan.step), [1, 3]);
    assert_eq!(
        (plan.status.completed_indexes.as_str(), plan.status.succeeded),
        ("0", 1)
    );
    let mut doubled = indexed(3, 3);
    doubled.status.completed_indexes = "0".into();
    let mut placed = at_index("placed", Phase::Running, 1);
    placed.node = Some("n".into());
    let pods = [
        placed,
        at_index("later", Phase::Pending, 1),
        at_index("beyond", Phase::Running, 7),
    ];
    let Step::Delete { mut uids, .. } = round(&doubled, &pods, 1_000).step else {
        panic!("deletes nothing")
    };
    uids.sort();
    assert_eq!(uids, ["beyond", "later"]);
}

#[test]
fn indexes_fail_one_by_one() {
    let mut job = indexed(2, 2);
    job.backoff_limit = i32::MAX;
    job.backoff_limit_per_index = Some(1);
    // The failed pod stays until its successor is there, which knows of the failure.
    let first = at_index("a", Phase::Failed, 0);
    let plan = round(&job, &[first.clone(), at_index("b", Phase::Running, 1)], 1_000);
    let Step::Create(new) = &plan.step else {
        panic!("creates nothing")
    };
    assert_eq!((new[0].index, new[0].failures), (Some(0), Some((1, 0))));
    assert!(plan.release.is_empty());
    let second = with(at_index("c", Phase::Failed, 0), |about| about.failures = 1);
    let plan = round(&job, &[first, second, at_index("b", Phase::Succeeded, 1)], 2_000);
    assert_eq!(plan.status.failed_indexes.as_deref(), Some("0"));
    assert_eq!(plan.status.completed_indexes, "1");
    assert_eq!(kinds(&plan.status), [("FailureTarget", "FailedIndexes")]);
    job.max_failed_indexes = Some(0);
    let second = with(at_index("c", Phase::Failed, 0), |about| about.failures = 1);
    let plan = round(&job, &[second], 2_000);
    assert_eq!(kinds(&plan.status), [("FailureTarget", "MaxFailedIndexesExceeded")]);
}

#[test]
fn policies_say_what_a_failure_means() {
    let rule = |action, codes: &[i32]| FailureRule {
        action,
        on: FailureMatch::ExitCodes {
            container: None,
            within: true,
            codes: codes.to_vec(),
        },
    };
    let mut job = job(1, 1);
    job.replaces_failed_only = true;
    let disrupted = FailureRule {
        action: Action::Ignore,
        on: FailureMatch::Conditions(vec![("DisruptionTarget".into(), "True".into())]),
    };
    job.failure_policy = Some(vec![disrupted, rule(Action::FailJob, &[42])]);
    let exit = |code| {
        with(worker("a", Phase::Failed), |about| {
            about.exits = vec![("main".into(), code)]
        })
    };
    let failed = round(&job, &[exit(42)], 1_000);
    assert_eq!(kinds(&failed.status), [("FailureTarget", "PodFailurePolicy")]);
    assert_eq!(
        failed.status.conditions[0].message,
        "Container main for pod d/a failed with exit code 42 matching FailJob rule at index 1"
    );
    assert_eq!(round(&job, &[exit(1)], 1_000).status.uncounted_failed, ["a"]);
    let evicted = with(exit(42), |about| {
        about.conditions = vec![("DisruptionTarget".into(), "True".into())]
    });
    let ignored = round(&job, &[evicted], 1_000);
    assert!(ignored.status.conditions.is_empty() && ignored.status.uncounted_failed.is_empty());
    assert_eq!(ignored.release, ["a"]);
}

#[test]
fn success_policies_end_it_early() {
    let mut job = indexed(3, 5);
    job.success_policy = vec![SuccessRule {
        indexes: Some("0-1,4".into()),
        count: Some(2),
    }];
    let pods = [
        at_index("a", Phase::Succeeded, 1),
        at_index("b", Phase::Succeeded, 2),
        at_index("c", Phase::Running, 3),
    ];
    assert!(round(&job, &pods, 1_000).status.conditions.is_empty());
    let pods = [
        at_index("a", Phase::Succeeded, 1),
        at_index("b", Phase::Succeeded, 4),
        at_index("c", Phase::Running, 3),
    ];
    let plan = round(&job, &pods, 1_000);
    assert_eq!(kinds(&plan.status), [("SuccessCriteriaMet", "SuccessPolicy")]);
    assert_eq!(plan.status.conditions[0].message, "Matched rules at index 0");
    // Pods that are deleted because enough have succeeded haven't failed.
    assert!(plan.status.uncounted_failed.is_empty());
    assert_eq!(plan.release.len(), 3);
}

#[test]
fn indexes_are_written_as_intervals() {
    for (text, written) in [("0-2,4", "0-2,4"), ("0,1,3-3", "0,1,3"), ("2-9", "2-4"), ("x,7", "")] {
        assert_eq!(Indexes::parse(text, 5).to_string(), written);
    }
    let some = Indexes::parse("1-2,5", 10);
    assert_eq!(some.and(&BTreeSet::from([0, 3, 9]).into()).to_string(), "0-3,5,9");
    assert_eq!((some.total(), some.has(2), some.has(3)), (3, true, false));
    assert_eq!(some.missing(4, 10), [0, 3, 4, 6]);
    assert_eq!(some.common(&Indexes::parse("2-5", 10)), 2);
}

#[test]
fn finished_jobs_go_in_their_time() {
    let mut job = job(1, 1);
    job.ttl = Some(30);
    assert_eq!(ttl::left(&job, at(0)), None);
    let end = Condition::new("Complete", true, "CompletionsReached", "", at(100));
    job.status.conditions.push(end);
    assert_eq!(ttl::left(&job, at(110)), Some(std::time::Duration::from_secs(20)));
    assert_eq!(ttl::left(&job, at(200)), Some(std::time::Duration::ZERO));
    job.ttl = None;
    assert_eq!(ttl::left(&job, at(200)), None);
}
