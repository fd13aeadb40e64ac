//! Quotas as their controller keeps them: limits are taken over, what goes is given back, also of custom resources.

use serde_json::{Value, json};

use crate::harness::Plane;

const QUOTA: &str = "/api/v1/namespaces/default/resourcequotas/q";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

async fn quota(plane: &Plane, hard: Value) {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    plane.create(QUOTAS, quota).await;
}

async fn used(plane: &Plane, what: &str, used: Value) {
    let wanted = |seen: &Value| {
        let entries = used.as_object().unwrap();
        entries
            .iter()
            .all(|(name, amount)| seen["status"]["used"][name] == *amount)
    };
    plane.until(what, QUOTA, wanted).await;
}

fn pod(name: &str) -> Value {
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_is_given_back() {
    let plane = Plane::start().await;
    plane.until_default_account().await;
    let pods = "/api/v1/namespaces/default/pods";
    let mut early = pod("early");
    // The node leaves it alone.
    early["metadata"]["labels"] = json!({"broken": "yes"});
    plane.create(pods, early).await;
    quota(
        &plane,
        json!({"pods": "3", "requests.cpu": "1", "count/configmaps": "9", "configmaps": "9"}),
    )
    .await;
    used(
        &plane,
        "the pod that was there",
        json!({"pods": "1", "requests.cpu": "100m"}),
    )
    .await;
    plane.create(pods, pod("late")).await;
    used(&plane, "both pods", json!({"pods": "2", "requests.cpu": "200m"})).await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    plane.patch(&format!("{pods}/early/status"), ended).await;
    used(
        &plane,
        "one that has ended",
        json!({"pods": "1", "requests.cpu": "100m"}),
    )
    .await;
    plane.delete(&format!("{pods}/late"), "Background").await;
    used(&plane, "none", json!({"pods": "0", "requests.cpu": "0"})).await;

    let maps = "/api/v1/namespaces/default/configmaps";
    plane
        .until("the root certificate", &format!("{maps}/kube-root-ca.crt"), |seen| {
            seen["data"].is_object()
        })
        .await;
    let before = plane.items(maps).await.len();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    plane.create(maps, map).await;
    let count = |number: usize| json!({"count/configmaps": number.to_string(), "configmaps": number.to_string()});
    used(&plane, "the map", count(before + 1)).await;
    plane.delete(&format!("{maps}/m"), "Background").await;
    used(&plane, "no map", count(before)).await;

    plane.patch(QUOTA, json!({"spec": {"hard": {"pods": "7"}}})).await;
    plane
        .until("new limits", QUOTA, |seen| seen["status"]["hard"]["pods"] == "7")
        .await;
    // A status that says something else is put right.
    plane
        .patch(&format!("{QUOTA}/status"), json!({"status": {"hard": {"pods": "8"}}}))
        .await;
    plane
        .until("its limits again", QUOTA, |seen| seen["status"]["hard"]["pods"] == "7")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_count_too() {
    let plane = Plane::start().await;
    quota(&plane, json!({"count/foos.example.com": "1"})).await;
    plane
        .until("the limits", QUOTA, |seen| {
            seen["status"]["hard"]["count/foos.example.com"] == "1"
        })
        .await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    plane
        .create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        .await;
    used(&plane, "the new resource", json!({"count/foos.example.com": "0"})).await;
    let foos = "/apis/example.com/v1/namespaces/default/foos";
    let foo = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}});
    plane.create(foos, foo("a")).await;
    used(&plane, "one", json!({"count/foos.example.com": "1"})).await;
    let refused = plane.try_create(foos, foo("b")).await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: q"), "{refused}");
    plane.delete(&format!("{foos}/a"), "Background").await;
    used(&plane, "none", json!({"count/foos.example.com": "0"})).await;
}
