//! Quotas: charged with the object or not at all, never overshot, and refused in Kubernetes' words.

use serde_json::{Value, json};

use crate::world::World;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A quota as it is once its controller has counted: with these amounts in use.
async fn quota(world: &World, name: &str, hard: Value, used: Value) {
    let object = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard},
    });
    let mut made = world.post(QUOTAS, &object).await.expect(201);
    made["status"] = json!({"hard": hard, "used": used});
    world.put(&format!("{QUOTAS}/{name}/status"), &made).await.expect(200);
}

async fn used(world: &World, name: &str) -> Value {
    world.get(&format!("{QUOTAS}/{name}")).await.expect(200)["status"]["used"].clone()
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_side_by_side_never_overshoot() {
    let world = World::new().await;
    quota(
        &world,
        "q",
        json!({"count/configmaps": "10", "pods": "5"}),
        json!({"count/configmaps": "0", "pods": "0"}),
    )
    .await;
    let creates = (0..64).map(|index| {
        let world = &world;
        async move { world.post(MAPS, &map(&format!("m{index}"))).await }
    });
    let answers = futures::future::join_all(creates).await;
    let created = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(created, 10);
    for refused in answers.iter().filter(|answer| answer.code != 201) {
        let status = refused.expect(403);
        let message = status["message"].as_str().unwrap();
        assert!(
            message.ends_with("is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=10, limited: count/configmaps=10"),
            "{message}"
        );
    }
    assert_eq!(used(&world, "q").await, json!({"count/configmaps": "10", "pods": "0"}));
    let list = world.get(MAPS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn what_fails_or_is_only_tried_costs_nothing() {
    let world = World::new().await;
    let limits = json!({"count/configmaps": "2"});
    quota(&world, "q", limits, json!({"count/configmaps": "0"})).await;
    world.post(&format!("{MAPS}?dryRun=All"), &map("a")).await.expect(201);
    assert_eq!(used(&world, "q").await, json!({"count/configmaps": "0"}));
    world.post(MAPS, &map("a")).await.expect(201);
    world.post(MAPS, &map("a")).await.expect(409);
    assert_eq!(used(&world, "q").await, json!({"count/configmaps": "1"}));
    world.post(MAPS, &map("b")).await.expect(201);
    world.post(&format!("{MAPS}?dryRun=All"), &map("c")).await.expect(403);
    let made = world.get(&format!("{QUOTAS}/q")).await.expect(200);
    let managers = made["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        managers
            .iter()
            .any(|entry| entry["manager"] == "kube-apiserver" && entry["subresource"] == "status")
    );
}

#[tokio::test]
async fn pods_must_ask_and_may_not_ask_for_too_much() {
    let world = World::new().await;
    world.default_account("default").await;
    quota(
        &world,
        "q",
        json!({"requests.cpu": "1", "limits.memory": "1Gi", "pods": "3"}),
        json!({"requests.cpu": "0", "limits.memory": "0", "pods": "0"}),
    )
    .await;
    let silent = world.post(PODS, &pod("a", json!({}))).await.expect(403);
    assert_eq!(
        silent["message"],
        "pods \"a\" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c"
    );
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"memory": "100Mi"}});
    world.post(PODS, &pod("a", asks("600m"))).await.expect(201);
    assert_eq!(
        used(&world, "q").await,
        json!({"requests.cpu": "600m", "limits.memory": "100Mi", "pods": "1"})
    );
    let greedy = world.post(PODS, &pod("b", asks("600m"))).await.expect(403);
    assert_eq!(
        greedy["message"],
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: \
         requests.cpu=1"
    );
    // A scope that the pod is in and a scope that it isn't in.
    let scoped = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "s"},
        "spec": {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}});
    let mut made = world.post(QUOTAS, &scoped).await.expect(201);
    made["status"] = json!({"hard": {"pods": "0"}, "used": {"pods": "0"}});
    world.put(&format!("{QUOTAS}/s/status"), &made).await.expect(200);
    world.post(PODS, &pod("c", asks("100m"))).await.expect(201);
    assert_eq!(used(&world, "s").await, json!({"pods": "0"}));
}

#[tokio::test]
async fn a_service_is_charged_when_it_changes() {
    let world = World::new().await;
    let limits = json!({"services.nodeports": "1"});
    quota(&world, "q", limits, json!({"services.nodeports": "0"})).await;
    let service = |name: &str, kind: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": kind, "ports": [{"port": 80}]}})
    };
    world.post(SERVICES, &service("a", "ClusterIP")).await.expect(201);
    world.post(SERVICES, &service("b", "ClusterIP")).await.expect(201);
    let to_node_port = json!({"spec": {"type": "NodePort"}});
    let change = async |name: &str| {
        let path = format!("{SERVICES}/{name}");
        world.patch("merge-patch+json", &path, &to_node_port).await
    };
    change("a").await.expect(200);
    assert_eq!(used(&world, "q").await, json!({"services.nodeports": "1"}));
    let refused = change("b").await.expect(403);
    assert_eq!(
        refused["message"],
        "services \"b\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, \
         limited: services.nodeports=1"
    );
}

#[tokio::test]
async fn scopes_and_limits_must_fit() {
    let world = World::new().await;
    let quota =
        |spec: Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "x"}, "spec": spec});
    for (spec, message) in [
        (
            json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
            "conflicting scopes",
        ),
        (
            json!({"hard": {"secrets": "1"}, "scopes": ["Terminating"]}),
            "unsupported scope applied to resource",
        ),
        (
            json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": "BestEffort", "operator": "In", "values": ["a"]}]}}),
            "must be 'Exists' when scope is any of",
        ),
        (
            json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In"}]}}),
            "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        ),
    ] {
        let status = world.post(QUOTAS, &quota(spec)).await.expect(422);
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
    }
}
