//! Migrations of stored objects.

use serde_json::{Value, json};

use crate::harness::Plane;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";

fn migration(name: &str, group: &str, resource: &str) -> Value {
    json!({"apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration", "metadata": {"name": name},
        "spec": {"resource": {"group": group, "resource": resource}}})
}

fn versions(storage: &str) -> Value {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!([version("v1"), version("v2")])
}

fn has(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == condition && one["status"] == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_once_more() {
    let plane = Plane::start().await;
    plane
        .create(
            DEFINITIONS,
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
                    "names": {"plural": "things", "kind": "Thing"}, "versions": versions("v1")}}),
        )
        .await;
    let definition = format!("{DEFINITIONS}/things.example.com");
    plane
        .until("the definition is served", &definition, |object| {
            has(object, "Established")
        })
        .await;
    let made = plane
        .create(
            THINGS,
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "x": 1}),
        )
        .await;
    plane
        .patch(&definition, json!({"spec": {"versions": versions("v2")}}))
        .await;
    plane
        .until("both versions are stored", &definition, |object| {
            object["status"]["storedVersions"] == json!(["v1", "v2"])
        })
        .await;
    plane
        .create(MIGRATIONS, migration("things", "example.com", "things"))
        .await;
    let ended = plane
        .until("the migration succeeds", &format!("{MIGRATIONS}/things"), |object| {
            has(object, "Succeeded")
        })
        .await;
    assert!(has(&ended, "Running"), "{ended}");
    assert!(ended["status"]["resourceVersion"].is_string(), "{ended}");
    let now = plane.get(&format!("{THINGS}/a")).await.unwrap();
    assert_eq!(
        (&now["x"], &now["metadata"]["uid"]),
        (&json!(1), &made["metadata"]["uid"])
    );
    plane
        .until("one version is stored", &definition, |object| {
            object["status"]["storedVersions"] == json!(["v2"])
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_migrated_fails() {
    let plane = Plane::start().await;
    plane
        .create(
            MIGRATIONS,
            migration("reviews", "authorization.k8s.io", "subjectaccessreviews"),
        )
        .await;
    let ended = plane
        .until("the migration fails", &format!("{MIGRATIONS}/reviews"), |object| {
            has(object, "Failed")
        })
        .await;
    let conditions = ended["status"]["conditions"].as_array().unwrap();
    let message = conditions[0]["message"].as_str().unwrap();
    assert!(
        message.contains("does not support discovery operations: [update patch list]"),
        "{message}"
    );
}
