//! Golden scenarios: lost nodes, taints, and who must leave when.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::plan::{Leave, leave, lost, same, taints};
use super::*;
use crate::testing::at;

fn node(ready: &str) -> Node {
    let condition = Condition {
        status: ready.into(),
        ..Condition::new("Ready", true, "KubeletReady", "", at(0))
    };
    Node {
        zone: None,
        name: "n1".into(),
        labels: Default::default(),
        uid: "u".into(),
        version: "1".into(),
        addresses: Vec::new(),
        taints: Vec::new(),
        unschedulable: false,
        pod_cidrs: Vec::new(),
        conditions: vec![condition],
        heartbeat: None,
    }
}

fn told(taints: &[Taint]) -> Vec<String> {
    taints
        .iter()
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect()
}

#[test]
fn taints_follow_conditions_and_leave_others_alone() {
    assert!(taints(&node("True"), at(0)).is_empty());
    let gone = taints(&node("Unknown"), at(5));
    assert_eq!(
        told(&gone),
        [
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute"
        ]
    );
    let mut later = node("Unknown");
    later.taints = gone.clone();
    later.taints.push(Taint {
        key: "team".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    });
    let again = taints(&later, at(99));
    assert!(same(&again, &later.taints));
    assert!(again.contains(&gone[0]), "a taint keeps its time");
    later.conditions[0].status = "True".into();
    assert_eq!(told(&taints(&later, at(100))), ["team:NoSchedule"]);
}

#[test]
fn a_silent_node_is_unknown_once() {
    let mut node = node("True");
    let conditions = lost(&node, at(60));
    assert_eq!(conditions.len(), 4);
    assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
    node.conditions = conditions;
    assert!(lost(&node, at(70)).is_empty());
}

#[test]
fn tolerations_run_out() {
    let taints = taints(&node("False"), at(100));
    let toleration = |seconds| Toleration {
        key: Some("node.kubernetes.io/not-ready".into()),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: seconds,
        ..Toleration::default()
    };
    assert_eq!(leave(&[], &taints, at(100)), Leave::Now);
    assert_eq!(leave(&[toleration(None)], &taints, at(100)), Leave::Never);
    assert_eq!(
        leave(&[toleration(Some(300))], &taints, at(150)),
        Leave::After(Duration::from_secs(250))
    );
    assert_eq!(leave(&[toleration(Some(300))], &taints, at(401)), Leave::Now);
    assert_eq!(leave(&[], &[], at(0)), Leave::Never);
}
