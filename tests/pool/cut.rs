//! A node that is cut off: its pods are replaced elsewhere, its endpoints leave Services, its containers go on; back
//! again, it converges without a pod too many.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::stage::{REPORT, add_image, machines, readiness, until, with_client};

const REPLICAS: usize = 4;

async fn deploy(client: &Client) {
    let pod = json!({
        // Sooner than after the default of five minutes.
        "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3},
        ],
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": REPORT, "imagePullPolicy": "Never",
            "command": ["/bin/report", "lines", "1000000", "100"],
        }],
    });
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod},
        },
    });
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let deployments = Api::default_namespaced(client.clone());
    let deployment = serde_json::from_value::<k8s_openapi::api::apps::v1::Deployment>(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let service: Service = serde_json::from_value(service).unwrap();
    let services = Api::default_namespaced(client.clone());
    services.create(&PostParams::default(), &service).await.unwrap();
}

/// Pods that aren't ending: name to node, and whether they are ready.
async fn pods(client: &Client) -> BTreeMap<String, (String, bool)> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let pods = api.list(&ListParams::default().labels("app=web")).await.unwrap();
    let alive = pods
        .items
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let of = |pod: Pod| {
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        (
            pod.metadata.name.unwrap(),
            (pod.spec.unwrap().node_name.unwrap_or_default(), ready),
        )
    };
    alive.map(of).collect()
}

/// All replicas are ready, on these nodes only.
async fn settled(client: &Client, nodes: &[&str]) -> Result<(), String> {
    let pods = pods(client).await;
    let fine = |(node, ready): &(String, bool)| *ready && nodes.contains(&node.as_str());
    if pods.len() == REPLICAS && pods.values().all(fine) {
        return Ok(());
    }
    Err(format!("{pods:?}"))
}

/// The nodes of the Service's ready endpoints.
async fn endpoints(client: &Client) -> Vec<String> {
    let api: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let slices = api
        .list(&ListParams::default().labels("kubernetes.io/service-name=web"))
        .await
        .unwrap();
    let all = slices
        .items
        .into_iter()
        .flat_map(|slice| slice.endpoints.into_iter().flatten());
    let ready = all.filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|c| c.ready != Some(false)));
    let mut nodes: Vec<String> = ready.filter_map(|endpoint| endpoint.node_name).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

/// Processes of the tests' program in the pods of one instance.
fn containers(instance: &str) -> Vec<u32> {
    let marks = format!("gantry-{instance}");
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.filter(|pid| read(*pid, "cgroup").contains(&marks) && read(*pid, "cmdline").starts_with("/bin/report"))
        .collect()
}

#[test]
fn a_node_that_is_cut_off_is_replaced_and_comes_back() {
    let pool = machines(3);
    pool.start_server(&["--no-node"]).unwrap();
    for machine in [1, 2] {
        pool.join(machine, &[]).unwrap();
        add_image(&pool, machine);
    }
    let status: serde_json::Value = serde_json::from_str(&pool.run(2, &["status", "-o", "json"]).unwrap()).unwrap();
    let instance = status["instance"].as_str().unwrap().to_owned();
    with_client(&pool, |client| async move {
        deploy(&client).await;
        until("replicas on both nodes", async || settled(&client, &["m1", "m2"]).await).await;
        assert_eq!(endpoints(&client).await, ["m1", "m2"]);
    });
    let before = containers(&instance);
    assert!(!before.is_empty(), "no replica came to the second node");
    pool.world().machine(2).link().cut();
    let cut = Instant::now();
    with_client(&pool, |client| async move {
        until("the node to be lost", async || {
            match readiness(&client, "m2").await.as_str() {
                "Unknown" => Ok(()),
                other => Err(format!("Ready is {other}")),
            }
        })
        .await;
        println!("lost after {:?}", cut.elapsed());
        until("its endpoints to leave the Service", async || {
            let nodes = endpoints(&client).await;
            if nodes == ["m1"] {
                Ok(())
            } else {
                Err(format!("{nodes:?}"))
            }
        })
        .await;
        let node = Api::<Node>::all(client.clone()).get("m2").await.unwrap();
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let unreachable = |effect: &str| {
            taints
                .iter()
                .any(|taint| taint.key == "node.kubernetes.io/unreachable" && taint.effect == effect)
        };
        assert!(unreachable("NoExecute") && unreachable("NoSchedule"), "{taints:?}");
        until("its pods to be replaced", async || settled(&client, &["m1"]).await).await;
        println!("replaced after {:?}", cut.elapsed());
    });
    assert_eq!(containers(&instance), before, "containers go on, whoever is away");
    pool.world().machine(2).link().mend();
    let mended = Instant::now();
    with_client(&pool, |client| async move {
        until("the node to be back", async || {
            match readiness(&client, "m2").await.as_str() {
                "True" => Ok(()),
                other => Err(format!("Ready is {other}")),
            }
        })
        .await;
        println!("back after {:?}", mended.elapsed());
        settled(&client, &["m1"]).await.unwrap();
    });
    let limit = Instant::now() + Duration::from_secs(60);
    while !containers(&instance).is_empty() {
        assert!(
            Instant::now() < limit,
            "pods that were replaced still run: {:?}",
            containers(&instance)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("converged after {:?}", mended.elapsed());
}
