//! Golden scenarios: who goes first, what is created, what the status says.

use super::plan::{Step, plan, status};
use super::*;
use crate::testing::{at, pod, replica_set};

fn uids(step: Step) -> Vec<String> {
    match step {
        Step::Delete(uids) => uids,
        other => panic!("deletes nothing: {other:?}"),
    }
}

#[test]
fn missing_pods_are_created_and_ended_ones_do_not_count() {
    let set = replica_set("a", 3);
    let mut ended = pod("x");
    ended.phase = crate::world::Phase::Failed;
    let pods = [Arc::new(pod("y")), Arc::new(ended)];
    assert_eq!(plan(&set, &pods, &HashMap::new(), at(0)), Step::Create(2));
    assert_eq!(plan(&replica_set("a", 1), &pods, &HashMap::new(), at(0)), Step::Nothing);
    assert_eq!(
        plan(&replica_set("a", 5000), &[], &HashMap::new(), at(0)),
        Step::Create(500)
    );
}

#[test]
fn the_least_useful_pods_go_first() {
    let placed = |name: &str, ready: Option<i64>| {
        let mut pod = pod(name);
        pod.node = Some("n".into());
        pod.phase = crate::world::Phase::Running;
        pod.ready = ready.map(at);
        pod
    };
    let mut cheap = placed("cheap", Some(0));
    cheap.deletion_cost = -5;
    let mut restarted = placed("restarted", Some(0));
    restarted.restarts = 3;
    let pods = [
        placed("old", Some(0)),
        placed("fresh", Some(9_990)),
        restarted,
        cheap,
        placed("unready", None),
        pod("unplaced"),
    ];
    let pods = pods.map(Arc::new);
    let step = plan(&replica_set("a", 1), &pods, &HashMap::new(), at(10_000));
    assert_eq!(uids(step), ["unplaced", "unready", "cheap", "fresh", "restarted"]);
}

#[test]
fn crowded_nodes_lose_pods_first() {
    let on = |name: &str, node: &str| {
        let mut pod = pod(name);
        pod.node = Some(node.into());
        pod.phase = crate::world::Phase::Running;
        pod.ready = Some(at(0));
        Arc::new(pod)
    };
    let siblings = HashMap::from([("full".to_owned(), 4), ("free".to_owned(), 1)]);
    let step = plan(
        &replica_set("a", 1),
        &[on("b", "free"), on("c", "full")],
        &siblings,
        at(100),
    );
    assert_eq!(uids(step), ["c"]);
}

#[test]
fn availability_waits_for_min_ready_seconds() {
    let mut set = replica_set("a", 2);
    set.min_ready_seconds = 30;
    let ready = |name: &str, since: i64| {
        let mut pod = pod(name);
        pod.ready = Some(at(since));
        Arc::new(pod)
    };
    let (status, wait) = status(&set, &[ready("a", 0), ready("b", 50)], None, at(60));
    assert_eq!((status.replicas, status.ready, status.available), (2, 2, 1));
    assert_eq!(wait, Some(std::time::Duration::from_secs(20)));
}
