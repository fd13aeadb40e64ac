//! What a node turns away, though it is bound to it: the pod fails for good with the reason, and stays so when the node
//! starts again; what was there before goes on.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::conditions;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::stage::{self, HELLO, within};

/// Below the range from which the kernel gives away ports.
const PORT: i32 = 18_734;

/// A web server with a port of the host, past the scheduler.
fn with_port(name: &str, node: &str, more: Value) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "web", "image": HELLO, "ports": [{"containerPort": 8080, "hostPort": PORT}]}],
        },
    });
    pod["spec"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(pod).unwrap()
}

/// Waits until the pod has failed; answers why.
async fn failed(client: &Client, name: &str) -> (String, String) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let over = await_condition(pods, name, |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        phase == Some("Failed")
    });
    let pod = within(&format!("pod {name} fails"), over).await.unwrap().unwrap();
    let status = pod.status.unwrap();
    assert!(status.container_statuses.is_none(), "nothing of it was started");
    (status.reason.unwrap_or_default(), status.message.unwrap_or_default())
}

async fn events(client: &Client, name: &str, reason: &str) -> usize {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let of_pod = ListParams::default().fields(&format!("involvedObject.name={name},reason={reason}"));
    events.list(&of_pod).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_fit_is_turned_away() {
    let cluster = stage::cluster();
    cluster.up();
    let client = stage::client(&cluster).await;
    stage::add_images(&cluster);
    let status = cluster.status();
    let node = status["nodes"][0]["name"].as_str().unwrap();
    stage::create_pod(&client, &with_port("first", node, json!({}))).await;
    let first = stage::running(&client, "first").await;

    stage::create_pod(&client, &with_port("second", node, json!({}))).await;
    let (reason, message) = failed(&client, "second").await;
    assert_eq!(reason, "NodePorts");
    assert!(
        message.starts_with("Pod was rejected: Predicate NodePorts failed"),
        "{message}"
    );
    stage::until("the event says why", async || {
        match events(&client, "second", "NodePorts").await {
            1 => Ok(()),
            count => Err(format!("{count} events")),
        }
    })
    .await;
    let selector = json!({"nodeSelector": {"no": "such"}});
    stage::create_pod(&client, &with_port("third", node, selector)).await;
    assert_eq!(failed(&client, "third").await.0, "NodeAffinity");

    // The node's next life judges nobody again.
    stage::kill(&status, "node");
    stage::until("the node is back", async || {
        let now = cluster.status();
        let pid = &now["node"]["pid"];
        if pid.is_number() && *pid != status["node"]["pid"] {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let now = stage::running(&client, "first").await;
    let id = |pod: &Pod| {
        pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0]
            .container_id
            .clone()
    };
    assert_eq!(id(&now), id(&first), "what was there goes on");

    // What it held is free once it has gone; for who was turned away that is too late.
    let uid = first.metadata.uid.unwrap();
    pods.delete("first", &DeleteParams::default()).await.unwrap();
    let gone = await_condition(pods.clone(), "first", conditions::is_deleted(&uid));
    within("the first pod goes", gone).await.unwrap();
    stage::create_pod(&client, &with_port("fourth", node, json!({}))).await;
    stage::running(&client, "fourth").await;
    assert_eq!(failed(&client, "second").await.0, "NodePorts");
}
