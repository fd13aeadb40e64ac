//! Golden scenarios: nodes and a pod as YAML users would write them, and what the scheduler says.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

use super::*;
use crate::project;

fn node(name: &str, cpu: &str, spec: Value, labels: Value) -> core::Node {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": spec,
        "status": { "allocatable": { "cpu": cpu, "memory": "4Gi", "pods": "110", "ephemeral-storage": "10Gi" } },
    }))
    .unwrap()
}

fn pod(name: &str, spec: Value) -> Pod {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{ "name": "main" }]);
    }
    let pod: core::Pod =
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "d", "uid": name }, "spec": spec }))
            .unwrap();
    project::pod(&pod).unwrap()
}

fn cpu(amount: &str) -> Value {
    json!({ "containers": [{ "name": "main", "resources": { "requests": { "cpu": amount } } }] })
}

fn cache(nodes: &[core::Node]) -> Cache {
    let mut cache = Cache::default();
    for node in nodes {
        cache.set_node(&project::node(node));
    }
    cache
}

fn check(cache: &Cache, pod: &Pod, expected: &str) {
    let said = match decide(pod, cache, &mut Rotation::new(7)) {
        Decision::Node(name) => name.text().to_owned(),
        Decision::None { message, .. } => message,
    };
    assert_eq!(said, expected);
}

#[test]
fn reasons_are_told_as_users_know_them() {
    let tainted = json!({ "taints": [{ "key": "a", "effect": "NoSchedule" }] });
    let nodes = [
        node("a", "1", tainted, json!({})),
        node("b", "1", json!({}), json!({})),
        node("c", "2", json!({}), json!({})),
    ];
    let mut cache = cache(&nodes);
    for name in ["b", "c"] {
        cache.assume(&Arc::new(pod(name, cpu("900m"))), Sym::of(name));
    }
    check(
        &cache,
        &pod("x", cpu("1500m")),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient \
         cpu. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not \
         helpful for scheduling.",
    );
    check(&cache, &pod("x", cpu("1")), "c");
    check(
        &Cache::default(),
        &pod("x", cpu("1")),
        "no nodes available to schedule pods",
    );
}

#[test]
fn selectors_affinity_and_names_choose() {
    let nodes = [
        node("a", "4", json!({}), json!({"disk": "ssd", "gen": "3"})),
        node("b", "4", json!({}), json!({"gen": "7"})),
    ];
    let cache = cache(&nodes);
    check(&cache, &pod("x", json!({ "nodeSelector": { "disk": "ssd" } })), "a");
    let wants = |expressions: Value| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
            { "nodeSelectorTerms": [{ "matchExpressions": expressions }] } } } })
    };
    check(
        &cache,
        &pod("x", wants(json!([{ "key": "gen", "operator": "Gt", "values": ["5"] }]))),
        "b",
    );
    check(
        &cache,
        &pod("x", wants(json!([{ "key": "disk", "operator": "DoesNotExist" }]))),
        "b",
    );
    check(
        &cache,
        &pod("x", wants(json!([]))),
        "0/2 nodes are available: 2 node(s) didn't match Pod's node \
        affinity/selector. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
    );
    let prefers = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution":
        [{ "weight": 50, "preference": { "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] } }] } } });
    check(&cache, &pod("x", prefers), "a");
}

#[test]
fn cordon_ports_and_tolerations_hold() {
    let nodes = [
        node("a", "4", json!({ "unschedulable": true }), json!({})),
        node("b", "4", json!({}), json!({})),
    ];
    let mut cache = cache(&nodes);
    let port = json!({ "containers": [{ "name": "main", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] });
    let first = Arc::new(pod("first", port.clone()));
    check(&cache, &first, "b");
    cache.assume(&first, Sym::of("b"));
    check(
        &cache,
        &pod("x", port.clone()),
        "0/2 nodes are available: 1 node(s) didn't have free ports for the requested \
        pod ports, 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 1 No preemption victims found for \
        incoming pod, 1 Preemption is not helpful for scheduling.",
    );
    let mut tolerant = port;
    tolerant["tolerations"] = json!([{ "operator": "Exists" }]);
    check(&cache, &pod("x", tolerant), "a");
    cache.remove_pod(&first.key);
    assert!(cache.node(Sym::of("b")).unwrap().ports.is_empty());
}

#[test]
fn init_containers_sidecars_and_overhead_count() {
    let requests = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let pod = pod(
        "x",
        json!({
            "overhead": { "cpu": "10m" },
            "initContainers": [
                { "name": "side", "restartPolicy": "Always", "resources": requests("100m") },
                { "name": "init", "resources": requests("700m") },
            ],
            "containers": [{ "name": "a", "resources": requests("200m") }, { "name": "b", "resources": requests("300m") }],
        }),
    );
    assert_eq!(pod.requests.cpu, 810);
}

#[test]
fn pods_of_one_owner_spread() {
    let nodes: Vec<_> = (0..4)
        .map(|i| node(&format!("n{i}"), "4", json!({}), json!({})))
        .collect();
    let mut cache = cache(&nodes);
    let mut rotation = Rotation::new(3);
    for i in 0..8 {
        let mut pod = pod(&format!("p{i}"), json!({}));
        pod.owner = Some(1);
        let Decision::Node(name) = decide(&pod, &cache, &mut rotation) else {
            panic!("no node")
        };
        cache.assume(&Arc::new(pod), name);
    }
    assert_eq!(
        cache.nodes.iter().map(|node| node.pods).collect::<Vec<_>>(),
        [2, 2, 2, 2]
    );
}
