//! The scheduler's task: takes events into the cache and the queue, decides, and has bindings written.
//!
//! Decisions are made one after another without waiting for the API: a decided pod is counted at once, its binding is
//! written by a task of its own, and a refused binding is taken back.

use std::sync::Arc;

use client::{Change, Informer, Recorder, Regarding};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use meta::ObjectKey;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::cycle::{Decision, Rotation, decide, fits};
use crate::intern::Sym;
use crate::model::{NodeSpec, Pod};
use crate::plugins::Events;
use crate::project;
use crate::queue::Queue;

/// How many bindings may be under way.
const BINDINGS: usize = 256;

enum Input {
    Pod(Change<Pod>),
    Node(Change<NodeSpec>),
    /// A binding's answer; the error is what the API said.
    Bound {
        pod: Arc<Pod>,
        node: Sym,
        error: Option<String>,
    },
    /// The first lists are complete.
    Synced,
}

struct Scheduler {
    client: Client,
    recorder: Recorder,
    cache: Cache,
    queue: Queue,
    rotation: Rotation,
    /// Answers come back through the same channel as events.
    inputs: mpsc::UnboundedSender<Input>,
    bindings: Arc<Semaphore>,
    synced: bool,
}

/// Places pods until `cancel`. `client` acts as `system:kube-scheduler`.
pub async fn run(client: Client, cancel: CancellationToken) {
    let pods = Informer::of(Api::<core::Pod>::all(client.clone())).start_some(project::pod);
    let nodes = Informer::of(Api::<core::Node>::all(client.clone())).start(project::node);
    let (inputs, mut receiver) = mpsc::unbounded_channel();
    // The receiver lives as long as this task; a failed send means shutdown.
    let sender = inputs.clone();
    nodes.subscribe(move |change| drop(sender.send(Input::Node(change.clone()))));
    let sender = inputs.clone();
    pods.subscribe(move |change| drop(sender.send(Input::Pod(change.clone()))));
    let mut scheduler = Scheduler {
        recorder: Recorder::new(client.clone(), "default-scheduler", None),
        client,
        cache: Cache::default(),
        queue: Queue::default(),
        rotation: Rotation::new(rand::random()),
        inputs: inputs.clone(),
        bindings: Arc::new(Semaphore::new(BINDINGS)),
        synced: false,
    };
    let synced = async {
        tokio::join!(pods.synced(), nodes.synced());
        drop(inputs.send(Input::Synced));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = synced => {}
        () = scheduler.work(&mut receiver) => {}
    }
}

// === impl Scheduler ===

impl Scheduler {
    async fn work(&mut self, receiver: &mut mpsc::UnboundedReceiver<Input>) {
        loop {
            // All that has happened comes before the next decision.
            while let Ok(input) = receiver.try_recv() {
                self.take(input);
            }
            let next = self.queue.due(Instant::now());
            if self.synced
                && let Some(pod) = self.queue.pop()
            {
                self.place(pod);
                tokio::task::consume_budget().await;
                continue;
            }
            let held = async {
                match next {
                    Some(when) => tokio::time::sleep_until(when).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = receiver.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                () = held => {}
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Synced => self.synced = true,
            Input::Pod(change) => self.pod_changed(&change),
            Input::Node(change) => match change.after {
                Some(spec) => {
                    let events = self.cache.set_node(&spec);
                    self.wake(events, Sym::of(&spec.name));
                }
                None => self.cache.remove_node(&change.key.name),
            },
            Input::Bound { pod, node, error: None } => {
                let message = format!("Successfully assigned {} to {}", pod.key, node.text());
                self.recorder.normal(&regarding(&pod), "Scheduled", message);
            }
            Input::Bound {
                pod,
                node,
                error: Some(error),
            } => {
                if self.cache.forget(&pod.key).is_some() {
                    self.recorder.warning(
                        &regarding(&pod),
                        "FailedScheduling",
                        format!("binding rejected: {error}"),
                    );
                    self.queue.hold(&pod.key, Instant::now());
                    self.wake(Events::POD_GONE, node);
                }
            }
        }
    }

    fn pod_changed(&mut self, change: &Change<Pod>) {
        match &change.after {
            Some(pod) => match pod.node {
                Some(node) => {
                    self.queue.remove(&pod.key);
                    self.cache.confirm(pod, node);
                }
                None if pod.wants_node => {
                    let same = change.before.as_ref().is_some_and(|before| before.uid == pod.uid);
                    if !same && let Some(node) = self.cache.remove_pod(&pod.key) {
                        self.wake(Events::POD_GONE, node);
                    }
                    if !self.cache.is_assumed(&pod.key) {
                        self.queue.put(pod.clone());
                    }
                }
                None => self.gone(&pod.key),
            },
            None => self.gone(&change.key),
        }
    }

    fn gone(&mut self, key: &ObjectKey) {
        self.queue.remove(key);
        if let Some(node) = self.cache.remove_pod(key) {
            self.wake(Events::POD_GONE, node);
        }
    }

    fn wake(&mut self, events: Events, node: Sym) {
        if events != Events::NONE
            && let Some(node) = self.cache.node(node)
        {
            self.queue.wake(events, node, fits, Instant::now());
        }
    }

    fn place(&mut self, pod: Arc<Pod>) {
        match decide(&pod, &self.cache, &mut self.rotation) {
            Decision::Node(node) => {
                self.cache.assume(&pod, node);
                self.bind(pod, node);
            }
            Decision::None { message, rejected_by } => {
                self.queue.park(&pod.key, rejected_by, Instant::now());
                self.recorder
                    .warning(&regarding(&pod), "FailedScheduling", message.clone());
                if pod.told.as_deref() != Some(message.as_str()) {
                    self.tell(&pod, message);
                }
            }
        }
    }

    fn bind(&self, pod: Arc<Pod>, node: Sym) {
        let (client, inputs, bindings) = (self.client.clone(), self.inputs.clone(), self.bindings.clone());
        tokio::spawn(async move {
            let _permit = bindings.acquire_owned().await;
            let error = bind(&client, &pod, node).await.err().map(|error| error.to_string());
            drop(inputs.send(Input::Bound { pod, node, error }));
        });
    }

    /// Writes the condition that says why the pod has no node.
    fn tell(&self, pod: &Arc<Pod>, message: String) {
        let (client, pod) = (self.client.clone(), pod.clone());
        tokio::spawn(async move {
            let mut condition = serde_json::json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            });
            if pod.told.is_none() {
                condition["lastTransitionTime"] = meta::time::now().into();
            }
            let patch = serde_json::json!({
                "metadata": { "uid": pod.uid },
                "status": { "conditions": [condition] },
            });
            let pods: Api<core::Pod> = Api::namespaced(client, pod.key.namespace.as_deref().unwrap_or_default());
            let written = pods
                .patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            if let Err(error) = written
                && !client::is_not_found(&error)
            {
                tracing::warn!(pod = %pod.key, %error, "cannot tell why the pod has no node");
            }
        });
    }
}

async fn bind(client: &Client, pod: &Pod, node: Sym) -> Result<(), kube::Error> {
    let namespace = pod.key.namespace.as_deref().unwrap_or_default();
    let binding = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": pod.key.name, "namespace": namespace, "uid": pod.uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node.text() },
    });
    let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/binding", pod.key.name);
    let request = http_post(&path, body)?;
    client.request_text(request).await.map(drop)
}

fn http_post(path: &str, body: Vec<u8>) -> Result<http::Request<Vec<u8>>, kube::Error> {
    http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| kube::Error::Service(Box::new(error)))
}

fn regarding(pod: &Pod) -> Regarding {
    Regarding::new("v1", "Pod", pod.key.namespace.as_deref(), &pod.key.name, &pod.uid)
}
