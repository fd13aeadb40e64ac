//! Golden scenarios: where pods belong, what a rollout does, what the status says.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint};

use super::place::{Place, judge};
use super::plan::{plan, status};
use super::*;
use crate::testing::{at, labels, pod};
use crate::world::{Labels, Phase, Places};

fn set() -> DaemonSet {
    DaemonSet {
        key: ObjectKey::namespaced("d", "s"),
        uid: "s".into(),
        annotations: Labels::new(),
        deleting: false,
        generation: 2,
        selector: None,
        template: r#"{"metadata":{"labels":{"app":"web"}},"spec":{"hostNetwork":true}}"#.into(),
        places: Places::default(),
        on_delete: false,
        max_surge: json!(0),
        max_unavailable: json!(1),
        min_ready_seconds: 0,
        history_limit: 10,
        status: DaemonStatus::default(),
    }
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        uid: name.into(),
        labels: labels(&[("disk", "ssd"), ("size", "3")]),
        version: "1".into(),
        addresses: Vec::new(),
        taints: Vec::new(),
        unschedulable: false,
        pod_cidrs: Vec::new(),
        zone: None,
        conditions: Vec::new(),
        heartbeat: None,
    }
}

/// A pod of a revision on a node, ready or not.
fn daemon(name: &str, on: &str, hash: &str, ready: bool) -> Pod {
    Pod {
        node: Some(on.into()),
        phase: Phase::Running,
        labels: labels(&[(HASH, hash)]),
        ready: ready.then(|| at(10)),
        ..pod(name)
    }
}

fn round(set: &DaemonSet, nodes: &[Node], pods: &[Pod]) -> (Plan, DaemonStatus) {
    let nodes: Vec<_> = nodes.iter().cloned().map(Arc::new).collect();
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    let failures = HashMap::new();
    let situation = Situation {
        set,
        nodes: &nodes,
        pods: &pods,
        hash: "new",
        failures: &failures,
        now: at(100),
    };
    (plan(&situation), status(&situation, true).0)
}

fn taint(effect: &str) -> Taint {
    Taint {
        key: "gpu".into(),
        effect: effect.into(),
        ..Taint::default()
    }
}

#[test]
fn templates_say_where_pods_belong() {
    let requirement = |key: &str, operator: &str, values: &[&str]| NodeSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
    };
    let by = |requirement| Places {
        terms: Some(vec![NodeSelectorTerm {
            match_expressions: Some(vec![requirement]),
            match_fields: None,
        }]),
        ..Places::default()
    };
    let here = node("a");
    let cases = [
        (by(requirement("disk", "In", &["ssd", "hdd"])), Place::Wanted),
        (by(requirement("disk", "NotIn", &["ssd"])), Place::Barred),
        (by(requirement("none", "DoesNotExist", &[])), Place::Wanted),
        (by(requirement("size", "Gt", &["2"])), Place::Wanted),
        (by(requirement("size", "Lt", &["3"])), Place::Barred),
        (by(requirement("disk", "Strange", &["ssd"])), Place::Barred),
        (
            Places {
                terms: Some(Vec::new()),
                ..Places::default()
            },
            Place::Barred,
        ),
        (
            Places {
                node: Some("b".into()),
                ..Places::default()
            },
            Place::Barred,
        ),
        (
            Places {
                selector: labels(&[("disk", "hdd")]),
                ..Places::default()
            },
            Place::Barred,
        ),
    ];
    for (places, expected) in cases {
        assert_eq!(judge(&places, &here), expected, "{places:?}");
    }
    for (effect, expected) in [
        ("NoSchedule", Place::Suffered),
        ("NoExecute", Place::Barred),
        ("PreferNoSchedule", Place::Wanted),
    ] {
        let mut tainted = node("a");
        tainted.taints.push(taint(effect));
        assert_eq!(judge(&Places::default(), &tainted), expected, "{effect}");
    }
    let mut cordoned = node("a");
    cordoned.taints.push(Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        ..taint("NoSchedule")
    });
    let places = Places {
        tolerations: daemon_tolerations(false),
        ..Places::default()
    };
    assert_eq!(judge(&places, &cordoned), Place::Wanted);
}

#[test]
fn each_node_has_one_pod() {
    let (plan, _) = round(&set(), &[node("a"), node("b")], &[daemon("one", "a", "new", true)]);
    assert_eq!((&*plan.create, plan.delete.len()), (&["b".to_owned()][..], 0));
    let mut waiting = daemon("waiting", "a", "new", false);
    (waiting.node, waiting.meant_for) = (None, Some("a".into()));
    assert!(round(&set(), &[node("a")], &[waiting.clone()]).0.create.is_empty());
    let pods = [daemon("one", "a", "new", true), waiting.clone()];
    assert_eq!(round(&set(), &[node("a")], &pods).0.delete, ["waiting"]);
    // Its node is gone; a pod that was there already is the pod collector's business.
    let pods = [waiting, daemon("one", "a", "new", true)];
    assert_eq!(round(&set(), &[], &pods).0.delete, ["waiting"]);
    let mut barred = node("a");
    barred.taints.push(taint("NoExecute"));
    assert_eq!(
        round(&set(), &[barred], &[daemon("one", "a", "new", true)]).0.delete,
        ["one"]
    );
}

#[test]
fn failed_pods_are_replaced_with_patience() {
    let mut failed = daemon("one", "a", "new", false);
    failed.phase = Phase::Failed;
    let (plan, _) = round(&set(), &[node("a")], &[failed.clone()]);
    assert_eq!(
        (&*plan.delete, &*plan.failed),
        (&["one".to_owned()][..], &["a".to_owned()][..])
    );
    assert_eq!(
        plan.events[0].2,
        "Found failed daemon pod d/one on node a, will try to kill it"
    );
    let failures = HashMap::from([(
        "a".to_owned(),
        Failure {
            last: at(98),
            wait: Duration::from_secs(8),
        },
    )]);
    let (set, nodes, pods) = (set(), [Arc::new(node("a"))], [Arc::new(failed)]);
    let situation = Situation {
        set: &set,
        nodes: &nodes,
        pods: &pods,
        hash: "new",
        failures: &failures,
        now: at(100),
    };
    let plan = plan::plan(&situation);
    assert_eq!((plan.delete.len(), plan.wait), (0, Some(Duration::from_secs(6))));
}

#[test]
fn rollouts_keep_to_their_limit() {
    let nodes = [node("a"), node("b"), node("c")];
    let old = |name: &str, on: &str, ready| daemon(name, on, "old", ready);
    let all = [old("1", "a", true), old("2", "b", true), old("3", "c", true)];
    assert_eq!(round(&set(), &nodes, &all).0.delete, ["1"]);
    // One that isn't available goes beside the limit, and uses it up.
    let all = [old("1", "a", true), old("2", "b", false), old("3", "c", true)];
    assert_eq!(round(&set(), &nodes, &all).0.delete, ["2"]);
    let all = [daemon("1", "a", "new", false), old("2", "b", true), old("3", "c", true)];
    assert!(round(&set(), &nodes, &all).0.delete.is_empty());
    let mut half = set();
    half.max_unavailable = json!("50%");
    assert_eq!(
        round(
            &half,
            &nodes,
            &[old("1", "a", true), old("2", "b", true), old("3", "c", true)]
        )
        .0
        .delete,
        ["1", "2"]
    );
    let mut still = set();
    still.on_delete = true;
    assert_eq!(
        round(
            &still,
            &nodes,
            &[old("1", "a", true), old("2", "b", true), old("3", "c", true)]
        )
        .0,
        Plan::default()
    );
}

#[test]
fn surging_makes_the_new_pod_first() {
    let mut set = set();
    (set.max_surge, set.max_unavailable) = (json!(1), json!(0));
    let nodes = [node("a"), node("b")];
    let (old_a, old_b) = (daemon("1", "a", "old", true), daemon("2", "b", "old", true));
    let (plan, _) = round(&set, &nodes, &[old_a.clone(), old_b.clone()]);
    assert_eq!((&*plan.create, plan.delete.len()), (&["a".to_owned()][..], 0));
    let (plan, _) = round(
        &set,
        &nodes,
        &[old_a.clone(), daemon("3", "a", "new", false), old_b.clone()],
    );
    assert_eq!(plan, Plan::default());
    let (plan, _) = round(&set, &nodes, &[old_a, daemon("3", "a", "new", true), old_b]);
    assert_eq!(plan.delete, ["1"]);
}

#[test]
fn the_status_counts_nodes() {
    let mut barred = node("c");
    barred.taints.push(taint("NoExecute"));
    let pods = [
        daemon("1", "a", "new", true),
        daemon("2", "b", "old", false),
        daemon("3", "c", "new", true),
    ];
    let (_, status) = round(&set(), &[node("a"), node("b"), barred, node("d")], &pods);
    let expected = DaemonStatus {
        observed_generation: 2,
        desired: 3,
        current: 2,
        misscheduled: 1,
        ready: 1,
        updated: 1,
        available: 1,
        unavailable: 2,
        collisions: 0,
    };
    assert_eq!(status, expected);
}

#[test]
fn pods_know_their_revision_and_node() {
    let mut set = set();
    set.annotations = labels(&[(GENERATION_NOTE, "7")]);
    let mut template = template(&set, "abc").unwrap();
    aim(&mut template["spec"], "a");
    assert_eq!(
        template["metadata"]["labels"],
        json!({ "app": "web", HASH: "abc", GENERATION: "7" })
    );
    assert_eq!(template["spec"]["tolerations"].as_array().unwrap().len(), 7);
    let required = &template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        required["nodeSelectorTerms"][0]["matchFields"][0]["values"],
        json!(["a"])
    );
}
