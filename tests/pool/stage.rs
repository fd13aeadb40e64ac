//! What the tests share: a pool of machines, a client on one of them, pods that a node is given, and patience.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use serde_json::{Value, json};
use testkit::pool::Pool;
use testkit::world::Shape;

/// How long anything may take; a busy machine must not fail a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// A program that does what its arguments say.
pub(crate) const REPORT: &str = "test.local/report:1";
/// A web server that answers with its pod's name.
pub(crate) const HELLO: &str = "test.local/hello:1";

/// Machines on which nothing runs yet.
pub(crate) fn machines(count: u8) -> Pool {
    machines_as(count, Shape::Together)
}

/// The same, joined in a certain way.
pub(crate) fn machines_as(count: u8, shape: Shape) -> Pool {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests start nodes, which make namespaces, cgroups and links: run them as root"
    );
    Pool::new(env!("CARGO_BIN_EXE_gantry"), count, shape, 1).expect("namespaces and taps: /dev/net/tun is needed")
}

/// Does something as the administrator, on the first machine.
pub(crate) fn with_client<F, T>(pool: &Pool, work: impl FnOnce(Client) -> F + Send) -> T
where
    F: Future<Output = T>,
    T: Send,
{
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let path = pool.kubeconfig();
    let inside = move || async move {
        let file = Kubeconfig::read_from(path).expect("the administrator's kubeconfig");
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a usable kubeconfig")).expect("a client");
        work(client).await
    };
    let namespace = pool.world().machine(0).namespace();
    namespace.block_on(inside).expect("a machine to be on")
}

/// Builds the images of the tests' programs on a machine.
pub(crate) fn add_images(pool: &Pool, machine: usize) {
    for (name, program, image) in [("report", shim::REPORT, REPORT), ("hello", shim::HELLO, HELLO)] {
        add_image(pool, machine, name, program, image);
    }
}

/// Builds an image of one program on a machine.
pub(crate) fn add_image(pool: &Pool, machine: usize, name: &str, program: &[u8], image: &str) {
    let dir = testkit::program::directory(pool.dir(), name, program).unwrap();
    pool.run(machine, &["image", "build", "-t", image, dir.to_str().unwrap()])
        .unwrap();
}

/// Makes an object in the default namespace, as soon as the server and the namespace take it.
pub(crate) async fn make<K>(client: &Client, object: Value) -> K
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::default_namespaced(client.clone());
    let object: K = serde_json::from_value(object).unwrap();
    until("an object to be made", async || {
        let made = api.create(&PostParams::default(), &object).await;
        made.map_err(|error| error.to_string())
    })
    .await
}

/// A pod that prints a numbered line again and again, wherever the selector leads it.
pub(crate) fn printer(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": REPORT, "imagePullPolicy": "Never",
                "command": ["/bin/report", "lines", "1000000", "100"],
            }],
        },
    })
}

/// Makes a pod and waits until it runs.
pub(crate) async fn run_pod(client: &Client, pod: Value) -> Pod {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let made: Pod = make(client, pod).await;
    let name = made.metadata.name.unwrap();
    let running = Box::pin(await_condition(api.clone(), &name, conditions::is_pod_running()));
    within("the pod to run", running).await.unwrap();
    api.get(&name).await.unwrap()
}

/// Whether a node is Ready, unknown or not, as its condition says.
pub(crate) async fn readiness(client: &Client, node: &str) -> String {
    let node = Api::<Node>::all(client.clone()).get(node).await.unwrap();
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map(|condition| condition.status).unwrap_or_default()
}

/// Waits for something, with the same patience everywhere.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
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
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The same, where nothing else has to go on meanwhile.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(why) if began.elapsed() > PATIENCE => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
