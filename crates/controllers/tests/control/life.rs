//! Scheduling, services, namespaces, ownership, nodes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Plane, deployment};

fn pod(name: &str, cpu: &str) -> serde_json::Value {
    json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "main", "image": "x", "resources": { "requests": { "cpu": cpu } } }] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_at_once_or_told_why_not() {
    let plane = Plane::start().await;
    plane.namespace("a").await;
    let mut times = Vec::new();
    for i in 0..20 {
        let begin = Instant::now();
        plane
            .create("/api/v1/namespaces/a/pods", pod(&format!("p{i}"), "10m"))
            .await;
        let path = format!("/api/v1/namespaces/a/pods/p{i}");
        while plane
            .get(&path)
            .await
            .is_none_or(|seen| seen["spec"]["nodeName"] != "n1")
        {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        times.push(begin.elapsed());
    }
    times.sort();
    println!("created until bound: p50 {:?}, max {:?}", times[10], times[19]);

    plane.create("/api/v1/namespaces/a/pods", pod("big", "7900m")).await;
    let path = "/api/v1/namespaces/a/pods/big";
    let told = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims \
                found for incoming pod.";
    plane
        .until("why it has no node", path, |seen| {
            let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions
                .iter()
                .any(|c| c["type"] == "PodScheduled" && c["reason"] == "Unschedulable" && c["message"] == told)
        })
        .await;
    for i in 0..20 {
        plane
            .delete(&format!("/api/v1/namespaces/a/pods/p{i}"), "Background")
            .await;
    }
    plane
        .until("its node", path, |seen| seen["spec"]["nodeName"] == "n1")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_endpoints() {
    let plane = Plane::start().await;
    plane
        .create(
            "/apis/apps/v1/namespaces/default/deployments",
            deployment("web", 2, "v1"),
        )
        .await;
    let service =
        json!({ "metadata": { "name": "web" }, "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } });
    plane.create("/api/v1/namespaces/default/services", service).await;
    let slices =
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dweb";
    let full = |seen: &serde_json::Value| {
        let endpoints = seen["items"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.len() == 2 && endpoints.iter().all(|endpoint| endpoint["conditions"]["ready"] == true)
    };
    plane.until("two ready endpoints", slices, full).await;
    let mirrored = "/api/v1/namespaces/default/endpoints/web";
    plane
        .until("their addresses", mirrored, |seen| {
            seen["subsets"][0]["addresses"]
                .as_array()
                .is_some_and(|all| all.len() == 2)
        })
        .await;
    let settled = plane.get(slices).await.unwrap()["items"][0]["metadata"]["resourceVersion"].clone();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = plane.get(slices).await.unwrap()["items"][0]["metadata"]["resourceVersion"].clone();
    assert_eq!(settled, after, "an unchanged slice is not written again");
    plane
        .delete("/api/v1/namespaces/default/services/web", "Background")
        .await;
    plane
        .until("no slices", slices, |seen| {
            seen["items"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    plane.until("no endpoints", mirrored, serde_json::Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_is_emptied() {
    let plane = Plane::start().await;
    plane.namespace("gone").await;
    plane
        .until(
            "the root certificate",
            "/api/v1/namespaces/gone/configmaps/kube-root-ca.crt",
            |seen| {
                seen["data"]["ca.crt"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("-----BEGIN"))
            },
        )
        .await;
    plane
        .create("/apis/apps/v1/namespaces/gone/deployments", deployment("web", 2, "v1"))
        .await;
    plane
        .until("pods", "/api/v1/namespaces/gone/pods", |seen| {
            seen["items"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await;
    plane.delete("/api/v1/namespaces/gone", "Background").await;
    plane
        .until("no namespace", "/api/v1/namespaces/gone", serde_json::Value::is_null)
        .await;
    assert!(plane.items("/api/v1/pods").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn owned_objects_go_with_their_owner() {
    for policy in ["Background", "Foreground"] {
        let plane = Plane::start().await;
        plane
            .create(
                "/apis/apps/v1/namespaces/default/deployments",
                deployment("web", 2, "v1"),
            )
            .await;
        let path = "/apis/apps/v1/namespaces/default/deployments/web";
        plane
            .until("two replicas", path, |seen| seen["status"]["availableReplicas"] == 2)
            .await;
        plane.delete(path, policy).await;
        let none = |seen: &serde_json::Value| seen["items"].as_array().is_some_and(Vec::is_empty);
        plane.until("no pods", "/api/v1/namespaces/default/pods", none).await;
        plane
            .until("no sets", "/apis/apps/v1/namespaces/default/replicasets", none)
            .await;
        plane.until("no deployment", path, serde_json::Value::is_null).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_stay() {
    let plane = Plane::start().await;
    plane
        .create(
            "/apis/apps/v1/namespaces/default/deployments",
            deployment("web", 1, "v1"),
        )
        .await;
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    plane
        .until("a replica", path, |seen| seen["status"]["availableReplicas"] == 1)
        .await;
    plane.delete(path, "Orphan").await;
    plane.until("no deployment", path, serde_json::Value::is_null).await;
    let sets = plane.items("/apis/apps/v1/namespaces/default/replicasets").await;
    assert_eq!(sets.len(), 1);
    assert!(
        sets[0]["metadata"]["ownerReferences"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_get_addresses_and_taints() {
    let plane = Plane::start().await;
    let node = "/api/v1/nodes/n1";
    plane
        .until("its range", node, |seen| seen["spec"]["podCIDR"] == "10.42.0.0/24")
        .await;
    let unready =
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "x", "message": "" }] } });
    plane.patch(&format!("{node}/status"), unready).await;
    let has = |seen: &serde_json::Value, effect: &str| {
        let taints = seen["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints
            .iter()
            .any(|taint| taint["key"] == "node.kubernetes.io/not-ready" && taint["effect"] == effect)
    };
    plane
        .until("its taints", node, |seen| {
            has(seen, "NoSchedule") && has(seen, "NoExecute")
        })
        .await;
}
