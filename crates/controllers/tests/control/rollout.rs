//! Deployments, from the first pod to the rollback.

use serde_json::json;

use crate::harness::{Plane, deployment};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_rolled_out_updated_scaled_and_undone() {
    let plane = Plane::start().await;
    plane
        .create(
            "/apis/apps/v1/namespaces/default/deployments",
            deployment("web", 3, "v1"),
        )
        .await;
    let ready = |seen: &serde_json::Value| {
        seen["status"]["availableReplicas"] == 3
            && seen["status"]["updatedReplicas"] == 3
            && seen["status"]["replicas"] == 3
            && seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
    };
    let seen = plane.until("three available replicas", DEPLOYMENT, ready).await;
    assert_eq!(
        seen["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "1"
    );
    let done = |seen: &serde_json::Value| {
        let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let has = |kind: &str, reason: &str| conditions.iter().any(|c| c["type"] == kind && c["reason"] == reason);
        has("Available", "MinimumReplicasAvailable") && has("Progressing", "NewReplicaSetAvailable")
    };
    plane.until("a finished rollout", DEPLOYMENT, done).await;

    let image = |image: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } });
    plane.patch(DEPLOYMENT, image("v2")).await;
    plane
        .until("revision 2", DEPLOYMENT, |seen| {
            ready(seen) && done(seen) && seen["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        })
        .await;
    let sets = plane.items(SETS).await;
    assert_eq!(sets.len(), 2);
    assert_eq!(
        sets.iter()
            .map(|set| set["spec"]["replicas"].as_i64().unwrap())
            .sum::<i64>(),
        3
    );

    plane.patch(DEPLOYMENT, image("v1")).await;
    plane
        .until("revision 3", DEPLOYMENT, |seen| {
            ready(seen) && seen["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        })
        .await;
    assert_eq!(plane.items(SETS).await.len(), 2, "the old set serves again");

    plane.patch(DEPLOYMENT, json!({ "spec": { "replicas": 6 } })).await;
    plane
        .until("six replicas", DEPLOYMENT, |seen| {
            seen["status"]["availableReplicas"] == 6
        })
        .await;
    plane.patch(DEPLOYMENT, json!({ "spec": { "replicas": 1 } })).await;
    plane
        .until("one replica", DEPLOYMENT, |seen| seen["status"]["replicas"] == 1)
        .await;
    let reasons: Vec<_> = plane.items("/api/v1/namespaces/default/events").await;
    for reason in ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"] {
        assert!(
            reasons.iter().any(|event| event["reason"] == reason),
            "no event {reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_replaces_all_pods() {
    let plane = Plane::start().await;
    let mut body = deployment("web", 2, "v1");
    body["spec"]["strategy"] = json!({ "type": "Recreate" });
    plane.create("/apis/apps/v1/namespaces/default/deployments", body).await;
    plane
        .until("two replicas", DEPLOYMENT, |seen| {
            seen["status"]["availableReplicas"] == 2
        })
        .await;
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "v2" }] } } } });
    plane.patch(DEPLOYMENT, image).await;
    plane
        .until("both anew", DEPLOYMENT, |seen| {
            seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
                && seen["status"]["updatedReplicas"] == 2
                && seen["status"]["availableReplicas"] == 2
                && seen["status"]["replicas"] == 2
        })
        .await;
    let images = plane.items("/api/v1/namespaces/default/pods").await;
    assert!(images.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "v2"));
}
