//! A rolling restart that nobody notices: ten replicas, a new connection for each request, from the host to the NodePort
//! and out of a pod's network to the ClusterIP, with no preStop hook. No request may fail.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::stage::{self, http, until};
use crate::{house, web};

const REPLICAS: i32 = 10;
/// How many requests each side must have made, so that the count says something.
const ENOUGH: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_without_a_failed_request() {
    let cluster = stage::cluster();
    cluster.up();
    let client = stage::client(&cluster).await;
    stage::add_images(&cluster);
    web::deploy(&client, REPLICAS).await;
    stage::create_pod(&client, &stage::report_pod("asker", &["sleep", "1000000"])).await;
    stage::running(&client, "asker").await;
    let (cluster_ip, node_port) = web::addresses(&client).await;
    for address in [cluster_ip, node_port] {
        until("an answer", async || http(address)).await;
    }
    let processes = house::processes(&cluster.id());
    let asker = processes
        .iter()
        .find(|process| process.pod == "asker" && process.is_program)
        .unwrap()
        .pid;
    let stop = Arc::new(AtomicBool::new(false));
    let (told, host) = (stop.clone(), stop.clone());
    let host = std::thread::spawn(move || ask_until(node_port, &host));
    let pod = std::thread::spawn(move || {
        // For this thread alone: its connections begin in the pod's network from now on.
        let namespace = File::open(format!("/proc/{asker}/ns/net")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        ask_until(cluster_ip, &told)
    });
    let enough = Stop(stop);
    roll(&client).await;
    drop(enough);
    let asked = [("host", host.join().unwrap()), ("pod", pod.join().unwrap())];
    for (side, (answered, failures)) in asked {
        println!("{side}: {answered} requests answered");
        assert!(
            failures.is_empty(),
            "of the {side}'s requests {} failed: {failures:?}",
            failures.len()
        );
        assert!(answered >= ENOUGH, "the {side} made only {answered} requests");
    }
}

/// Ends the requests, also when the test panics.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Restarts the Deployment, until the last of the old pods is gone.
async fn roll(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let names = async || -> Vec<String> {
        let list = pods.list(&ListParams::default().labels("app=web")).await.unwrap();
        list.iter().map(|pod| pod.name_any()).collect()
    };
    let before = names().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.restart("web").await.unwrap();
    web::available(client, REPLICAS).await;
    until("the old pods are gone", async || {
        let left = names().await.into_iter().filter(|name| before.contains(name)).count();
        (left == 0).then_some(()).ok_or(format!("{left} are left"))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// How many requests were answered, and why others were not.
fn ask_until(address: SocketAddr, stop: &AtomicBool) -> (usize, Vec<String>) {
    let (mut answered, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match http(address) {
            Ok(_) => answered += 1,
            Err(error) => failures.push(format!("after {answered} good ones: {error}")),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    (answered, failures)
}
