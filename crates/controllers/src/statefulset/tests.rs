//! Golden scenarios: order, scaling, rollouts, claims.

use super::plan::{Plan, plan};
use super::*;
use crate::testing::{at, labels, pod};
use crate::world::{Labels, Phase};

fn set(replicas: i32) -> StatefulSet {
    StatefulSet {
        key: ObjectKey::namespaced("d", "db"),
        uid: "set".into(),
        annotations: Labels::new(),
        deleting: false,
        generation: 3,
        replicas,
        start: 0,
        selector: None,
        match_labels: labels(&[("app", "db")]),
        template: r#"{"metadata":{"labels":{"app":"db"}},"spec":{"volumes":[{"name":"tmp","emptyDir":{}}]}}"#.into(),
        service: "dbs".into(),
        parallel: false,
        on_delete: false,
        partition: 0,
        max_unavailable: Value::Null,
        min_ready_seconds: 0,
        history_limit: 10,
        claims: Vec::new(),
        claims_go_with_set: false,
        claims_go_with_pods: false,
        status: StatefulStatus::default(),
    }
}

/// A pod of a revision, ready or not.
fn member(number: i32, revision: &str, ready: bool) -> Pod {
    let name = format!("db-{number}");
    Pod {
        phase: Phase::Running,
        labels: labels(&[(REVISION, revision), (NAME, &name)]),
        ready: ready.then(|| at(10)),
        ..pod(&name)
    }
}

fn round(set: &StatefulSet, pods: &[Pod]) -> Plan {
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    plan(set, &pods, ("old", "new"), true, at(100))
}

fn create(ordinal: i32) -> Step {
    Step::Create {
        ordinal,
        current: false,
    }
}

fn delete(number: i32) -> Step {
    Step::Delete(format!("db-{number}"))
}

#[test]
fn pods_are_made_one_after_the_other() {
    assert_eq!(round(&set(3), &[]).steps, [create(0)]);
    assert_eq!(round(&set(3), &[member(0, "new", false)]).steps, []);
    assert_eq!(round(&set(3), &[member(0, "new", true)]).steps, [create(1)]);
    let mut pending = member(0, "new", false);
    pending.phase = Phase::Pending;
    assert_eq!(round(&set(3), &[pending]).steps, [Step::Claim(0)]);
    let mut at_once = set(3);
    at_once.parallel = true;
    at_once.start = 5;
    assert_eq!(
        round(&at_once, &[member(6, "new", false)]).steps,
        [create(5), create(7)]
    );
}

#[test]
fn pods_that_ended_are_made_anew_when_they_are_gone() {
    let mut failed = member(0, "new", false);
    failed.phase = Phase::Failed;
    assert_eq!(round(&set(2), &[failed.clone()]).steps, [delete(0)]);
    failed.deleting = true;
    assert_eq!(round(&set(2), &[failed]).steps, []);
}

#[test]
fn scaling_down_begins_at_the_highest_number() {
    let pods = [member(0, "new", true), member(1, "new", true), member(2, "new", true)];
    assert_eq!(round(&set(1), &pods).steps, [delete(2)]);
    // It waits while another pod isn't well, but not for the one that goes.
    let pods = [member(0, "new", false), member(1, "new", true)];
    assert_eq!(round(&set(1), &pods).steps, []);
    let pods = [member(0, "new", true), member(1, "new", false)];
    assert_eq!(round(&set(1), &pods).steps, [delete(1)]);
    let pods = [member(0, "new", true), member(1, "new", false), member(2, "new", false)];
    assert_eq!(round(&set(1), &pods).steps, []);
    let mut at_once = set(1);
    at_once.parallel = true;
    assert_eq!(round(&at_once, &pods).steps, [delete(2), delete(1)]);
}

#[test]
fn rollouts_begin_at_the_highest_number_too() {
    let old = [member(0, "old", true), member(1, "old", true), member(2, "old", true)];
    let plan = round(&set(3), &old);
    assert_eq!(plan.steps, [delete(2)]);
    assert_eq!((plan.status.current, plan.status.updated), (2, 0));
    assert_eq!(
        round(
            &set(3),
            &[member(0, "old", true), member(1, "old", true), member(2, "new", true)]
        )
        .steps,
        [delete(1)]
    );
    let mut canary = set(3);
    canary.partition = 2;
    assert_eq!(
        round(
            &canary,
            &[member(0, "old", true), member(1, "old", true), member(2, "new", true)]
        )
        .steps,
        []
    );
    // A pod below the partition comes back as it was.
    let back = Step::Create {
        ordinal: 1,
        current: true,
    };
    assert_eq!(
        round(&canary, &[member(0, "old", true), member(2, "new", true)]).steps,
        [back]
    );
    let mut still = set(3);
    still.on_delete = true;
    assert_eq!(round(&still, &old).steps, []);
    let mut wide = set(3);
    wide.max_unavailable = json!("70%");
    assert_eq!(round(&wide, &old).steps, [delete(2), delete(1)]);
}

#[test]
fn at_once_bad_pods_go_beside_the_limit() {
    let mut at_once = set(3);
    at_once.parallel = true;
    let pods = [member(0, "old", false), member(1, "old", true), member(2, "old", true)];
    assert_eq!(round(&at_once, &pods).steps, [delete(0)]);
    at_once.max_unavailable = json!(2);
    assert_eq!(round(&at_once, &pods).steps, [delete(0), delete(2)]);
}

#[test]
fn the_new_revision_is_current_when_all_have_it() {
    let half = round(&set(2), &[member(0, "old", true), member(1, "new", true)]).status;
    assert_eq!((&*half.current_revision, half.replicas, half.updated), ("old", 2, 1));
    let whole = round(&set(2), &[member(0, "new", true), member(1, "new", true)]).status;
    assert_eq!(
        (&*whole.current_revision, whole.current, whole.available),
        ("new", 2, 2)
    );
    assert_eq!(whole.observed_generation, 3);
}

#[test]
fn availability_takes_its_time() {
    let mut set = set(2);
    set.min_ready_seconds = 120;
    let plan = round(&set, &[member(0, "new", true)]);
    assert_eq!(
        (plan.steps.len(), plan.wait),
        (0, Some(std::time::Duration::from_secs(30)))
    );
    assert_eq!((plan.status.ready, plan.status.available), (1, 0));
}

#[test]
fn nothing_is_done_on_what_is_not_seen_yet() {
    assert_eq!(plan(&set(3), &[], ("old", "new"), false, at(0)).steps, []);
}

#[test]
fn pods_have_a_name_a_number_and_claims() {
    let mut set = set(1);
    set.claims = vec![("data".into(), "{}".into()), ("tmp".into(), "{}".into())];
    let templates = Templates {
        current: None,
        current_name: "new",
        new_name: "new",
    };
    let pod = templates
        .pod(&set, 4, false, &Kind::new("apps/v1", "StatefulSet", "statefulsets"))
        .unwrap();
    assert_eq!(pod["metadata"]["name"], "db-4");
    let expected = json!({ "app": "db", NAME: "db-4", INDEX: "4", REVISION: "new" });
    assert_eq!(pod["metadata"]["labels"], expected);
    assert_eq!(
        (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
        (&json!("db-4"), &json!("dbs"))
    );
    let claim = |name: &str| json!({ "name": name, "persistentVolumeClaim": { "claimName": format!("{name}-db-4") } });
    assert_eq!(pod["spec"]["volumes"], json!([claim("data"), claim("tmp")]));
    assert_eq!(ordinal("db", "db-12"), Some(12));
    for stranger in ["db-x", "db", "other-1", "db-1-2", "db-"] {
        assert_eq!(ordinal("db", stranger), None, "{stranger}");
    }
}
