//! Limit ranges: defaults for containers, and refusals in Kubernetes' words.

use serde_json::{Value, json};

use crate::world::World;

const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

async fn range(world: &World, name: &str, limits: Value) {
    let range =
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name}, "spec": {"limits": [limits]}});
    world
        .post("/api/v1/namespaces/default/limitranges", &range)
        .await
        .expect(201);
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test]
async fn containers_get_defaults_and_keep_within() {
    let world = World::new().await;
    world.default_account("default").await;
    let limits = json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"},
        "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m", "memory": "200Mi"}});
    range(&world, "r", limits).await;
    let made = world.post(PODS, &pod("a", json!({}))).await.expect(201);
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "500m", "memory": "500Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    );
    let own = json!({"requests": {"cpu": "300m"}, "limits": {"cpu": "300m"}});
    let made = world.post(PODS, &pod("b", own)).await.expect(201);
    assert_eq!(made["spec"]["containers"][0]["resources"]["requests"]["cpu"], "300m");
    let small = json!({"requests": {"cpu": "10m"}});
    let refused = world.post(PODS, &pod("c", small)).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"c\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m"
    );
    let large = json!({"limits": {"cpu": "600m"}});
    let refused = world.post(PODS, &pod("d", large)).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"d\" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m"
    );
}

#[tokio::test]
async fn claims_keep_within() {
    let world = World::new().await;
    let limits = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
    range(&world, "r", limits).await;
    let claim = |name: &str, amount: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": amount}}}})
    };
    world.post(CLAIMS, &claim("a", "1Gi")).await.expect(201);
    let refused = world.post(CLAIMS, &claim("b", "10Gi")).await.expect(403);
    assert_eq!(
        refused["message"],
        "persistentvolumeclaims \"b\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request \
         is 10Gi"
    );
}
