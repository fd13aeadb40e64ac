//! Golden scenarios of rollouts.

use super::plan::{Bounds, bounds, plan, sort};
use super::status::status;
use super::*;
use crate::testing::{at, deployment, labels, replica_set};
use crate::world::Condition;

const NEW: &str = r#"{"metadata":{"labels":{"app":"web","pod-template-hash":"x"},"creationTimestamp":null},"spec":{"containers":[{"name":"a","image":"v2"}]}}"#;

fn set(name: &str, replicas: i32, available: i32, of: i32) -> ReplicaSet {
    let mut set = replica_set(name, replicas);
    if name == "new" {
        set.template = NEW.into();
        set.created = at(100);
    }
    set.status.replicas = replicas;
    set.status.ready = available;
    set.status.available = available;
    set.status.observed_generation = 1;
    let revision = if name == "new" { "2" } else { "1" };
    set.annotations = labels(&[
        ("deployment.kubernetes.io/revision", revision),
        ("deployment.kubernetes.io/desired-replicas", &of.to_string()),
        (
            "deployment.kubernetes.io/max-replicas",
            &(of + (of + 3) / 4).to_string(),
        ),
    ]);
    set
}

fn rolling(replicas: i32) -> Deployment {
    let mut deployment = deployment(replicas);
    deployment.annotations = labels(&[("deployment.kubernetes.io/revision", "2")]);
    deployment
}

fn scales(steps: &[Step]) -> Vec<(&str, i32)> {
    let scale = |step| match step {
        &Step::Scale { ref set, to, .. } => Some((set.as_str(), to)),
        _ => None,
    };
    steps.iter().filter_map(scale).collect()
}

fn next(deployment: &Deployment, sets: Vec<ReplicaSet>) -> Vec<Step> {
    plan(
        deployment,
        &sort(deployment, sets.into_iter().map(Arc::new).collect()),
        false,
    )
}

#[test]
fn bounds_round_as_documented() {
    assert_eq!(
        bounds(&deployment(10)),
        Bounds {
            surge: 3,
            unavailable: 2
        }
    );
    assert_eq!(
        bounds(&deployment(1)),
        Bounds {
            surge: 1,
            unavailable: 0
        }
    );
    let mut still = deployment(3);
    (still.max_surge, still.max_unavailable) = (json!(0), json!("0%"));
    assert_eq!(
        bounds(&still),
        Bounds {
            surge: 0,
            unavailable: 1
        }
    );
}

#[test]
fn a_new_deployment_gets_its_set_at_full_size() {
    let steps = next(&deployment(3), Vec::new());
    let [
        Step::Create {
            hash,
            replicas: 3,
            annotations,
        },
        Step::Revision(revision),
    ] = steps.as_slice()
    else {
        panic!("{steps:?}")
    };
    assert_eq!(hash.len(), 10);
    assert_eq!(revision, "1");
    assert_eq!(annotations["deployment.kubernetes.io/max-replicas"], "4");
}

#[test]
fn a_rollout_keeps_within_its_bounds() {
    let deployment = rolling(10);
    // Surge first, then old ones go as far as availability allows, then both as pods become available.
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 10, 10, 10), set("new", 0, 0, 10)])),
        [("new", 3)]
    );
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 10, 10, 10), set("new", 3, 0, 10)])),
        [("old", 8)]
    );
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 8, 8, 10), set("new", 3, 0, 10)])),
        [("new", 5)]
    );
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 8, 8, 10), set("new", 5, 0, 10)])),
        []
    );
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 8, 8, 10), set("new", 5, 2, 10)])),
        [("old", 6)]
    );
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 1, 1, 10), set("new", 10, 10, 10)])),
        [("old", 0)]
    );
    // Old pods that don't work go first and make room.
    assert_eq!(
        scales(&next(&deployment, vec![set("old", 10, 6, 10), set("new", 3, 2, 10)])),
        [("old", 6)]
    );
}

#[test]
fn another_size_in_mid_rollout_is_shared() {
    let deployment = rolling(20);
    let steps = next(&deployment, vec![set("old", 8, 8, 10), set("new", 5, 2, 10)]);
    assert_eq!(scales(&steps), [("old", 15), ("new", 10)]);
}

#[test]
fn recreate_waits_for_old_pods() {
    let mut deployment = rolling(2);
    deployment.recreate = true;
    assert_eq!(scales(&next(&deployment, vec![set("old", 2, 2, 2)])), [("old", 0)]);
    let empty = || sort(&deployment, vec![Arc::new(set("old", 0, 0, 2))]);
    assert!(plan(&deployment, &empty(), true).is_empty());
    assert!(matches!(
        plan(&deployment, &empty(), false).as_slice(),
        [Step::Create { replicas: 2, .. }, ..]
    ));
}

#[test]
fn undo_makes_the_old_set_the_newest_revision() {
    let mut deployment = rolling(2);
    deployment.annotations = labels(&[("deployment.kubernetes.io/revision", "2")]);
    let mut back = set("new", 0, 0, 2);
    back.annotations
        .insert("deployment.kubernetes.io/revision".into(), "1".into());
    let mut current = set("old", 2, 2, 2);
    current
        .annotations
        .insert("deployment.kubernetes.io/revision".into(), "2".into());
    let steps = next(&deployment, vec![back, current]);
    let Some(Step::Annotate { annotations, .. }) = steps.first() else {
        panic!("{steps:?}")
    };
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert!(steps.contains(&Step::Revision("3".into())));
}

#[test]
fn history_is_kept_to_its_limit() {
    let mut deployment = rolling(1);
    deployment.history_limit = 1;
    let mut oldest = set("oldest", 0, 0, 1);
    oldest
        .annotations
        .insert("deployment.kubernetes.io/revision".into(), "0".into());
    deployment.status = DeploymentStatus {
        observed_generation: 1,
        replicas: 1,
        updated: 1,
        ready: 1,
        available: 1,
        ..Default::default()
    };
    let steps = next(&deployment, vec![set("old", 0, 0, 1), oldest, set("new", 1, 1, 1)]);
    assert_eq!(steps, [Step::Delete { set: "oldest".into() }]);
}

#[test]
fn conditions_tell_the_rollout() {
    let mut deployment = rolling(2);
    let sets = |available| sort(&rolling(2), vec![Arc::new(set("new", 2, available, 2))]);
    let reason = |status: &DeploymentStatus| {
        let condition = Condition::find(&status.conditions, "Progressing").unwrap();
        (
            condition.status.clone(),
            condition.reason.clone(),
            condition.message.clone(),
        )
    };
    deployment.status = status(&deployment, &sets(0), None, true, at(10));
    assert_eq!(reason(&deployment.status).1, "ReplicaSetUpdated");
    assert_eq!(
        Condition::find(&deployment.status.conditions, "Available")
            .unwrap()
            .reason,
        "MinimumReplicasUnavailable"
    );
    let late = status(&deployment, &sets(0), None, true, at(700));
    assert_eq!(
        reason(&late),
        (
            "False".into(),
            "ProgressDeadlineExceeded".into(),
            "ReplicaSet \"new\" has timed out progressing.".into()
        )
    );
    let done = status(&deployment, &sets(2), None, true, at(20));
    assert_eq!(
        reason(&done),
        (
            "True".into(),
            "NewReplicaSetAvailable".into(),
            "ReplicaSet \"new\" has successfully progressed.".into()
        )
    );
    deployment.status = done;
    deployment.paused = true;
    assert_eq!(
        reason(&status(&deployment, &sets(2), None, false, at(30))).1,
        "DeploymentPaused"
    );
}
