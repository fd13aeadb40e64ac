//! Where a test plays: a throw-away Gantry, a client for it, and ways to wait for what must come about.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
pub(crate) use testkit::ask::http;
use testkit::cluster::Cluster;

/// How long anything may take; a busy machine must not fail a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A program that does what its arguments say.
pub(crate) const REPORT: &str = "test.local/report:1";
/// A web server that answers with its pod's name.
pub(crate) const HELLO: &str = "test.local/hello:1";

/// The binary under test.
pub(crate) fn gantry() -> &'static str {
    env!("CARGO_BIN_EXE_gantry")
}

/// A new place for an instance.
pub(crate) fn cluster() -> Cluster {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests start nodes, which make namespaces, cgroups and links: run them as root"
    );
    Cluster::new(gantry())
}

/// A client with the administrator's credentials.
pub(crate) async fn client(cluster: &Cluster) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = Kubeconfig::read_from(cluster.kubeconfig()).expect("the administrator's kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .expect("a usable kubeconfig");
    Client::try_from(config).expect("a client")
}

/// Builds the images that tests use, from programs that the repository carries.
pub(crate) fn add_images(cluster: &Cluster) {
    for (name, program, image) in [("report", shim::REPORT, REPORT), ("hello", shim::HELLO, HELLO)] {
        let dir = testkit::program::directory(cluster.work(), name, program).unwrap();
        cluster.run(&["image", "build", "-t", image, dir.to_str().unwrap()]);
    }
}

/// SIGKILL to one of an instance's processes, by its status.
pub(crate) fn kill(status: &Value, process: &str) {
    let pid = status[process]["pid"].as_i64().expect("a process that runs");
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Waits for something, with the same patience everywhere.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    // Boxed, since kube's futures are large.
    match tokio::time::timeout(PATIENCE, Box::pin(work)).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Asks again until there is an answer: for what tells nobody when it changes.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(why) if began.elapsed() > PATIENCE => panic!("{what}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A pod of one container of the report program.
pub(crate) fn report_pod(name: &str, arguments: &[&str]) -> Pod {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": REPORT, "args": arguments}],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}

/// Creates a pod, once its namespace takes pods.
pub(crate) async fn create_pod(client: &Client, pod: &Pod) -> Pod {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let there = await_condition(accounts, "default", |account: Option<&ServiceAccount>| {
        account.is_some()
    });
    within("the default service account", there).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), pod).await.unwrap()
}

/// Waits until a pod runs.
pub(crate) async fn running(client: &Client, name: &str) -> Pod {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let runs = await_condition(pods, name, conditions::is_pod_running());
    within(&format!("pod {name} runs"), runs).await.unwrap().unwrap()
}

/// Metadata with a name and a label `app` of the same value.
pub(crate) fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some([("app".to_owned(), name.to_owned())].into()),
        ..ObjectMeta::default()
    }
}
