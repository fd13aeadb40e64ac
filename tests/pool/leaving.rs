//! A node is drained with the consent of budgets, and a machine that leaves takes everything with it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use testkit::leaks::Snapshot;

use crate::stage::{add_images, machines, printer, run_pod, until, with_client, within};

/// Replicas that stay on whichever node has room.
fn deployment(replicas: i32) -> Deployment {
    let mut template = printer("web", "m0");
    let spec = template["spec"].as_object_mut().unwrap();
    spec.remove("nodeSelector");
    let object: Value = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec},
        },
    });
    serde_json::from_value(object).unwrap()
}

async fn deploy(client: &Client, replicas: i32) {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &deployment(replicas)).await.unwrap();
    let available = move |found: Option<&Deployment>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(replicas))
    };
    within("the replicas", Box::pin(await_condition(api, "web", available)))
        .await
        .unwrap();
}

async fn nodes_of_pods(client: &Client) -> Vec<String> {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let pods = pods.list(&ListParams::default().labels("app=web")).await.unwrap();
    let alive = pods
        .items
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    alive.filter_map(|pod| pod.spec?.node_name).collect()
}

#[test]
fn a_drained_node_is_empty_and_budgets_are_heeded() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    pool.join(1, &[]).unwrap();
    add_images(&pool, 0);
    add_images(&pool, 1);
    with_client(&pool, |client| async move {
        deploy(&client, 4).await;
        let budget = json!({
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}},
        });
        let budget: PodDisruptionBudget = serde_json::from_value(budget).unwrap();
        let api = Api::<PodDisruptionBudget>::default_namespaced(client.clone());
        api.create(&PostParams::default(), &budget).await.unwrap();
        run_pod(&client, printer("bare", "m1")).await;
    });
    let refusal = pool.run(0, &["drain", "m1", "--timeout", "60s"]).unwrap_err();
    assert!(
        refusal.contains("--force") && refusal.contains("default/bare"),
        "{refusal}"
    );
    let said = pool.run(0, &["drain", "m1", "--force", "--timeout", "80s"]).unwrap();
    assert!(
        said.contains("node/m1 already cordoned") && said.contains("node/m1 drained"),
        "{said}"
    );
    with_client(&pool, |client| async move {
        until("all replicas on the other node", async || {
            let nodes = nodes_of_pods(&client).await;
            if nodes == ["m0"; 4] {
                Ok(())
            } else {
                Err(format!("{nodes:?}"))
            }
        })
        .await;
        let node = Api::<Node>::all(client).get("m1").await.unwrap();
        assert_eq!(node.spec.unwrap().unschedulable, Some(true));
    });
}

#[test]
fn a_machine_that_leaves_takes_everything_with_it() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    add_images(&pool, 0);
    let data = pool.data(1);
    let marks = [data.to_str().unwrap()];
    // Images that are there already are not in the way of joining.
    add_images(&pool, 1);
    pool.join(1, &[]).unwrap();
    with_client(&pool, |client| async move { deploy(&client, 3).await });
    let said = pool.run(1, &["leave"]).unwrap();
    assert!(said.contains("node m1 has left"), "{said}");
    assert!(!data.exists());
    let left = Snapshot::take(&marks);
    assert!(left.is_empty(), "{left:?}");
    with_client(&pool, |client| async move {
        assert!(Api::<Node>::all(client.clone()).get_opt("m1").await.unwrap().is_none());
        until("all replicas on the other node", async || {
            let nodes = nodes_of_pods(&client).await;
            if nodes == ["m0"; 3] {
                Ok(())
            } else {
                Err(format!("{nodes:?}"))
            }
        })
        .await;
    });
    // And it may come back.
    pool.join(1, &[]).unwrap();
    pool.world().machine(1).link().cut();
    let refusal = pool.run(1, &["leave"]).unwrap_err();
    assert!(refusal.contains("--force"), "{refusal}");
    let said = pool.run(1, &["leave", "--force"]).unwrap();
    assert!(said.contains("has left"), "{said}");
    assert!(!data.exists());
}
