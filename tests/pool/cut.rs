//! A node that is cut off under traffic: its pods are replaced elsewhere, its endpoints leave Services, its containers go
//! on; back again, it converges without a pod too many. Who asks the Service on another node meets failures only until
//! the endpoints have left.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::json;
use testkit::ask;

use crate::stage::{HELLO, REPORT, add_images, eventually, machines, make, readiness, run_pod, until, with_client};
use crate::view::{View, programs};

const REPLICAS: usize = 4;
/// How many answers in a row say that all is well: each goes to one of the endpoints by chance.
const ROW: usize = 60;

/// Deploys web servers, and one pod that asks them; the Service's address.
async fn deploy(client: &Client) -> SocketAddr {
    let pod = json!({
        // Sooner than after the default of five minutes.
        "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3},
        ],
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": HELLO,
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
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
    let _: Deployment = make(client, deployment).await;
    let service: Service = make(client, service).await;
    let asker = json!({
        "metadata": {"name": "asker"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "m1"},
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": REPORT, "command": ["/bin/report", "stop"]}],
        },
    });
    run_pod(client, asker).await;
    let address = service.spec.and_then(|spec| spec.cluster_ip).unwrap();
    SocketAddr::new(address.parse().unwrap(), 80)
}

/// Somebody who asks a Service all the time, each time on a new connection, until this value ends.
struct Asker {
    stop: Arc<AtomicBool>,
    record: Arc<Mutex<Vec<Note>>>,
    thread: Option<JoinHandle<()>>,
}

/// When a question was answered or given up, and why it was.
type Note = (Instant, Result<(), String>);

impl Asker {
    fn start(from: View, address: SocketAddr) -> Self {
        let (stop, record) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(Mutex::new(Vec::<Note>::new())),
        );
        let (told, notes) = (stop.clone(), record.clone());
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let answer = from.ask(|| ask::http(address));
                let note = (Instant::now(), answer.map(drop));
                notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            stop,
            record,
            thread: Some(thread),
        }
    }

    /// Waits until so many questions asked from now on were answered, one after the other.
    fn all_is_well(&self, what: &str) {
        let began = Instant::now();
        eventually(what, || {
            let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            let later = record.iter().rev().take_while(|(at, _)| *at > began);
            let row = later.take_while(|(_, answer)| answer.is_ok()).count();
            (row >= ROW).then_some(()).ok_or(format!("{row} answers in a row"))
        });
    }

    /// What was not answered in a time.
    fn failures(&self, from: Instant, to: Instant) -> Vec<String> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let within = record.iter().filter(|(at, _)| (from..to).contains(at));
        within.filter_map(|(_, answer)| answer.clone().err()).collect()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
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

/// The Service's ready endpoints are on these nodes.
async fn endpoints_are(client: &Client, nodes: &[&str]) -> Result<(), String> {
    let found = endpoints(client).await;
    (found == nodes).then_some(()).ok_or(format!("{found:?}"))
}

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

#[test]
fn a_node_that_is_cut_off_is_replaced_and_comes_back() {
    let pool = machines(3);
    pool.start_server(&["--no-node"]).unwrap();
    for machine in [1, 2] {
        pool.join(machine, &[]).unwrap();
        add_images(&pool, machine);
    }
    let instance = pool.id(2).unwrap();
    let address = with_client(&pool, |client| async move {
        let address = deploy(&client).await;
        until("replicas on both nodes", async || settled(&client, &["m1", "m2"]).await).await;
        until("endpoints on both nodes", async || {
            endpoints_are(&client, &["m1", "m2"]).await
        })
        .await;
        address
    });
    let before = programs(&instance);
    assert!(!before.is_empty(), "no replica came to the second node");
    let asker = Asker::start(View::of_pod(&pool, 1, "asker"), address);
    asker.all_is_well("answers before anything happens");
    let calm = Instant::now();
    asker.all_is_well("answers while nothing happens");
    let cut = Instant::now();
    assert_eq!(asker.failures(calm, cut), [""; 0]);
    pool.world().machine(2).link().cut();
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
            endpoints_are(&client, &["m1"]).await
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
    assert_eq!(programs(&instance), before, "containers go on, whoever is away");
    asker.all_is_well("answers without the node");
    let well = Instant::now();
    let failed = asker.failures(cut, well).len();
    println!("well again after {:?}, {failed} questions failed", cut.elapsed());
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
    eventually("what was replaced to end", || {
        let left = programs(&instance);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
    println!("converged after {:?}", mended.elapsed());
    asker.all_is_well("answers with the node back");
    assert_eq!(asker.failures(well, Instant::now()), [""; 0]);
    with_client(&pool, |client| async move {
        settled(&client, &["m1"]).await.unwrap();
        endpoints_are(&client, &["m1"]).await.unwrap();
    });
}
