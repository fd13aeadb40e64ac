//! Claims and volumes stay while they are used, and go when nobody uses them.

use serde_json::{Value, json};

use crate::harness::Plane;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_stays_while_a_pod_uses_it() {
    let plane = Plane::start().await;
    plane.until_default_account().await;
    for name in ["idle", "used"] {
        let made = plane.create(CLAIMS, claim(name)).await;
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"broken": "yes"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}]}});
    plane.create(PODS, pod).await;
    for name in ["idle", "used"] {
        plane.delete(&format!("{CLAIMS}/{name}"), "Background").await;
    }
    plane
        .until("no idle claim", &format!("{CLAIMS}/idle"), Value::is_null)
        .await;
    let used = format!("{CLAIMS}/used");
    let held = plane.get(&used).await.unwrap();
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    plane.delete(&format!("{PODS}/p"), "Background").await;
    plane.until("no used claim", &used, Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_stays_while_it_is_bound() {
    let plane = Plane::start().await;
    let volumes = "/api/v1/persistentvolumes";
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}});
    plane.create(volumes, volume).await;
    let path = format!("{volumes}/v");
    plane
        .patch(&format!("{path}/status"), json!({"status": {"phase": "Bound"}}))
        .await;
    plane.delete(&path, "Background").await;
    let held = plane.get(&path).await.unwrap();
    assert_eq!(held["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    plane
        .patch(&format!("{path}/status"), json!({"status": {"phase": "Released"}}))
        .await;
    plane.until("no volume", &path, Value::is_null).await;
}
