//! A server, the controllers, the scheduler, and a hand that plays the node's part for its pods.

use std::time::{Duration, Instant};

use client::Informer;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use server::{Server, User};
use tokio_util::sync::CancellationToken;

/// A control plane; dropping it stops all of it.
pub(crate) struct Plane {
    pub(crate) client: Client,
    server: Server,
    cancel: CancellationToken,
    _dir: tempfile::TempDir,
    _pods: Informer<()>,
}

impl Plane {
    /// Starts everything, with one node that makes every pod ready at once.
    pub(crate) async fn start() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().unwrap();
        let store = store::embedded::Embedded::open(&dir.path().join("store"), Default::default()).unwrap();
        let server = Server::start(server::Config::new(dir.path()), store).await.unwrap();
        let cancel = CancellationToken::new();
        let clients = {
            let server = server.clone();
            move |name: &str| client::in_process(server.service(user(name)))
        };
        let ca = server.pki().ca();
        let config = controllers::Config {
            root_ca: ca.pem().to_owned(),
            signing: Some(controllers::SigningKey {
                lifetime: std::time::Duration::from_secs(3600),
                certificate: ca.pem().to_owned(),
                key: ca.key_pem().to_owned(),
            }),
            cluster_cidr: "10.42.0.0/16".parse().ok(),
            node_mask: 24,
        };
        tokio::spawn(scheduler::run(clients("system:kube-scheduler"), cancel.clone()));
        tokio::spawn(controllers::run(clients, config, cancel.clone()));
        let client = client::in_process(server.service(User::admin()));
        add_node(&client, "n1", "8").await;
        let pods = play_node(&client);
        Self {
            client,
            server,
            cancel,
            _dir: dir,
            _pods: pods,
        }
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        self.try_create(path, body).await.unwrap()
    }

    pub(crate) async fn try_create(&self, path: &str, body: Value) -> Result<Value, kube::Error> {
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&body).unwrap())
            .unwrap();
        self.client.request(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.client.request(request).await.ok()
    }

    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path)
            .await
            .and_then(|list| list["items"].as_array().cloned())
            .unwrap_or_default()
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&body).unwrap())
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str, policy: &str) {
        let body = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy });
        let request = http::Request::delete(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&body).unwrap())
            .unwrap();
        self.client.request::<Value>(request).await.unwrap();
    }

    /// Waits until `path` shows what `holds` wants.
    pub(crate) async fn until(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let seen = self.get(path).await.unwrap_or(Value::Null);
            if holds(&seen) {
                return seen;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "never came: {what}; {path} is {seen:#}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        self.account(name).await;
    }

    pub(crate) async fn until_default_account(&self) {
        self.account("default").await;
    }

    async fn account(&self, namespace: &str) {
        self.until(
            "default account",
            &format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"),
            |seen| seen["metadata"]["name"] == "default",
        )
        .await;
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.server.shutdown();
    }
}

fn user(name: &str) -> User {
    match name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
    {
        Some((namespace, name)) => User::service_account(namespace, name),
        None => User::new(name, &[]),
    }
}

/// A node with its status and lease, as a kubelet would report them.
pub(crate) async fn add_node(client: &Client, name: &str, cpu: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let now = meta::time::now();
    let status = json!({ "status": {
        "capacity": { "cpu": cpu, "memory": "16Gi", "pods": "110" },
        "allocatable": { "cpu": cpu, "memory": "16Gi", "pods": "110" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now }],
    }});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
        .await
        .unwrap();
}

/// Makes bound pods ready at once, or ends them as their label `ends` says, and lets deleted ones go.
fn play_node(client: &Client) -> Informer<()> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let informer = Informer::of(Api::<Pod>::all(client.clone())).start(move |pod: &Pod| drop(sender.send(pod.clone())));
    let client = client.clone();
    tokio::spawn(async move {
        let mut next = 1u32;
        while let Some(pod) = receiver.recv().await {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let running = phase.is_some_and(|phase| phase != "Pending");
            if pod.metadata.deletion_timestamp.is_some() {
                let _ = pods
                    .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                    .await;
            } else if bound && !running && !pod.labels().contains_key("broken") {
                next += 1;
                let ip = format!("10.42.{}.{}", next / 250, next % 250);
                let (phase, ready) = match pod.labels().get("ends").map(String::as_str) {
                    Some(end @ ("Succeeded" | "Failed")) => (end, "False"),
                    _ => ("Running", "True"),
                };
                let status = json!({ "status": { "phase": phase, "podIP": ip, "podIPs": [{ "ip": ip }],
                    "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": meta::time::now() }] } });
                let _ = pods
                    .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status))
                    .await;
            }
        }
    });
    informer
}

/// A deployment of `replicas` pods.
pub(crate) fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": image }] },
            },
        },
    })
}
