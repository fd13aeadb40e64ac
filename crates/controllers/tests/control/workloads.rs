//! Jobs, daemon sets and stateful sets, from their creation to their end.

use serde_json::{Value, json};

use crate::harness::{Plane, add_node};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

/// A job whose pods end in this phase.
fn job(name: &str, phase: &str, spec: &Value) -> Value {
    let mut job = json!({ "metadata": { "name": name }, "spec": {
        "template": {
            "metadata": { "labels": { "ends": phase } },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "main", "image": "x" }] },
        },
    }});
    for (key, value) in spec.as_object().into_iter().flatten() {
        job["spec"][key] = value.clone();
    }
    job
}

fn is_true(seen: &Value, kind: &str) -> bool {
    let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_count_every_pod_once() {
    let plane = Plane::start().await;
    plane.namespace("a").await;
    plane
        .create(
            JOBS,
            job("plain", "Succeeded", &json!({ "completions": 5, "parallelism": 2 })),
        )
        .await;
    let spec = json!({ "completions": 4, "parallelism": 4, "completionMode": "Indexed" });
    plane.create(JOBS, job("indexed", "Succeeded", &spec)).await;
    plane
        .create(JOBS, job("broken", "Failed", &json!({ "backoffLimit": 0 })))
        .await;
    let done = plane
        .until("it completes", &format!("{JOBS}/plain"), |seen| {
            is_true(seen, "Complete")
        })
        .await;
    assert_eq!(
        (&done["status"]["succeeded"], &done["status"]["active"]),
        (&json!(5), &Value::Null)
    );
    let pods = "/api/v1/namespaces/default/pods?labelSelector=job-name%3D";
    let ended = plane.items(&format!("{pods}plain")).await;
    assert_eq!(ended.len(), 5);
    assert!(
        ended.iter().all(|pod| pod["metadata"]["finalizers"].is_null()),
        "a pod is held"
    );
    let done = plane
        .until("it completes", &format!("{JOBS}/indexed"), |seen| {
            is_true(seen, "Complete")
        })
        .await;
    assert_eq!(done["status"]["completedIndexes"], "0-3");
    let mut names: Vec<_> = plane.items(&format!("{pods}indexed")).await;
    names.sort_by_key(|pod| pod["spec"]["hostname"].to_string());
    assert_eq!(names[3]["spec"]["hostname"], "indexed-3");
    assert_eq!(
        names[3]["spec"]["containers"][0]["env"][0]["name"],
        "JOB_COMPLETION_INDEX"
    );
    let failed = plane
        .until("it fails", &format!("{JOBS}/broken"), |seen| is_true(seen, "Failed"))
        .await;
    assert_eq!(failed["status"]["failed"], 1);
    plane.delete(&format!("{JOBS}/plain"), "Background").await;
    plane
        .until("its pods go", &format!("{pods}plain"), |seen| {
            seen["items"] == json!([])
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_go_let_their_pods_go() {
    let plane = Plane::start().await;
    let spec = json!({ "completions": 2, "parallelism": 2 });
    plane.create(JOBS, job("long", "never", &spec)).await;
    let pods = "/api/v1/namespaces/default/pods?labelSelector=job-name%3Dlong";
    let running = |seen: &Value| {
        let items = seen["items"].as_array().cloned().unwrap_or_default();
        items.len() == 2 && items.iter().all(|pod| pod["status"]["phase"] == "Running")
    };
    plane.until("both run", pods, running).await;
    plane.delete(&format!("{JOBS}/long"), "Foreground").await;
    plane
        .until("the job goes", JOBS, |seen| seen["items"] == json!([]))
        .await;
    plane
        .until("its pods go", pods, |seen| seen["items"] == json!([]))
        .await;
    plane
        .create(
            JOBS,
            job("brief", "Succeeded", &json!({ "ttlSecondsAfterFinished": 0 })),
        )
        .await;
    plane
        .until("it goes by itself", JOBS, |seen| seen["items"] == json!([]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_are_on_every_node_and_are_rolled_out() {
    let plane = Plane::start().await;
    let set = json!({ "metadata": { "name": "agent" }, "spec": {
        "selector": { "matchLabels": { "app": "agent" } },
        "template": {
            "metadata": { "labels": { "app": "agent" } },
            "spec": { "containers": [{ "name": "main", "image": "v1" }] },
        },
    }});
    plane.create(SETS, set).await;
    let path = format!("{SETS}/agent");
    let counts = |number: i64| {
        move |seen: &Value| {
            let status = &seen["status"];
            [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ]
            .iter()
            .all(|name| status[*name] == number)
                && status["observedGeneration"] == seen["metadata"]["generation"]
        }
    };
    plane.until("it runs on the node", &path, counts(1)).await;
    add_node(&plane.client, "n2", "8").await;
    plane.until("it runs on both nodes", &path, counts(2)).await;
    let template = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "v2" }] } } } });
    plane.patch(&path, template).await;
    plane.until("it is rolled out", &path, counts(2)).await;
    let pods = plane
        .items("/api/v1/namespaces/default/pods?labelSelector=app%3Dagent")
        .await;
    let new = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert!(
        new.clone().count() == 2 && new.clone().all(|pod| pod["spec"]["containers"][0]["image"] == "v2"),
        "{pods:#?}"
    );
    let revisions = plane
        .items("/apis/apps/v1/namespaces/default/controllerrevisions")
        .await;
    let mut numbers: Vec<_> = revisions.iter().map(|one| one["revision"].clone()).collect();
    numbers.sort_by_key(Value::as_i64);
    assert_eq!(numbers, [1, 2]);
    // Back again: the first revision becomes the newest.
    let template = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "v1" }] } } } });
    plane.patch(&path, template).await;
    plane.until("it is rolled back", &path, counts(2)).await;
    let revisions = plane
        .items("/apis/apps/v1/namespaces/default/controllerrevisions")
        .await;
    assert_eq!(revisions.len(), 2);
    assert!(revisions.iter().any(|one| one["revision"] == 3));
    plane.delete(&path, "Foreground").await;
    plane.until("it goes", SETS, |seen| seen["items"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_pods_come_and_go_in_order() {
    let plane = Plane::start().await;
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let set = json!({ "metadata": { "name": "db" }, "spec": {
        "serviceName": "dbs", "replicas": 3,
        "selector": { "matchLabels": { "app": "db" } },
        "template": {
            "metadata": { "labels": { "app": "db" } },
            "spec": { "containers": [{ "name": "main", "image": "v1" }] },
        },
    }});
    plane.create(sets, set).await;
    let path = format!("{sets}/db");
    let whole = |number: i64| {
        move |seen: &Value| {
            let status = &seen["status"];
            status["readyReplicas"] == number
                && status["updatedReplicas"] == number
                && status["currentRevision"] == status["updateRevision"]
                && status["observedGeneration"] == seen["metadata"]["generation"]
        }
    };
    plane.until("all run", &path, whole(3)).await;
    let pods = "/api/v1/namespaces/default/pods?labelSelector=app%3Ddb";
    let made = plane.items(pods).await;
    let mut names: Vec<_> = made.iter().map(|pod| pod["metadata"]["name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    let template = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "v2" }] } } } });
    plane.patch(&path, template).await;
    plane.until("it is rolled out", &path, whole(3)).await;
    let pods = plane.items(pods).await;
    assert!(
        pods.len() == 3 && pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "v2"),
        "{pods:#?}"
    );
    plane.patch(&path, json!({ "spec": { "replicas": 1 } })).await;
    plane.until("it is smaller", &path, whole(1)).await;
    plane.delete(&path, "Foreground").await;
    plane.until("it goes", sets, |seen| seen["items"] == json!([])).await;
}
