//! Gives every namespace its `default` service account and the `kube-root-ca.crt` that pods verify the server with.

use client::ObjectKey;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::world::World;
use crate::write::{Kind, Patch, Writer};

const ROOT_CA: &str = "kube-root-ca.crt";

/// The service account controller; keys are namespaces' names.
pub(crate) struct Accounts {
    world: World,
    writer: Writer,
    kind: Kind,
}

/// The publisher of the root certificate; keys are namespaces' names.
pub(crate) struct RootCas {
    world: World,
    writer: Writer,
    kind: Kind,
    /// PEM.
    certificate: String,
}

impl Accounts {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<String>) {
        let queue = namespaces(world);
        let keys = queue.clone();
        world.accounts.subscribe(move |change| {
            if change.after.is_none() {
                keys.add(change.key.namespace.clone().unwrap_or_default());
            }
        });
        (
            Self {
                world: world.clone(),
                writer,
                kind: Kind::new("v1", "ServiceAccount", "serviceaccounts"),
            },
            queue,
        )
    }
}

impl RootCas {
    pub(crate) fn new(world: &World, writer: Writer, certificate: String) -> (Self, Queue<String>) {
        let queue = namespaces(world);
        let keys = queue.clone();
        world.root_cas.subscribe(move |change| {
            keys.add(change.key.namespace.clone().unwrap_or_default());
        });
        let kind = Kind::new("v1", "ConfigMap", "configmaps");
        (
            Self {
                world: world.clone(),
                writer,
                kind,
                certificate,
            },
            queue,
        )
    }
}

impl Reconciler for Accounts {
    type Key = String;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    async fn reconcile(&self, namespace: &String) -> Result<Next, kube::Error> {
        let key = ObjectKey::namespaced(namespace, "default");
        if is_live(&self.world, namespace) && self.world.accounts.get(&key).is_none() {
            let body = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
            settle(self.writer.create(&self.kind, Some(namespace), &body).await)?;
        }
        Ok(Next::Change)
    }
}

impl Reconciler for RootCas {
    type Key = String;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    async fn reconcile(&self, namespace: &String) -> Result<Next, kube::Error> {
        if !is_live(&self.world, namespace) {
            return Ok(Next::Change);
        }
        let key = ObjectKey::namespaced(namespace, ROOT_CA);
        let data = json!({ "ca.crt": self.certificate });
        match self.world.root_cas.get(&key) {
            Some(known) if known.certificate == self.certificate => {}
            Some(_) => {
                settle(
                    self.writer
                        .patch(&self.kind, &key, Patch::Merge, &json!({ "data": data }))
                        .await,
                )?;
            }
            None => {
                let notes = json!({ "kubernetes.io/description":
                    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                     such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                     distributions of Kubernetes clusters." });
                let body = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": { "name": ROOT_CA, "annotations": notes }, "data": data,
                });
                settle(self.writer.create(&self.kind, Some(namespace), &body).await)?;
            }
        }
        Ok(Next::Change)
    }
}

fn namespaces(world: &World) -> Queue<String> {
    let queue: Queue<String> = Queue::default();
    let keys = queue.clone();
    world
        .namespaces
        .subscribe(move |change| keys.add(change.key.name.clone()));
    queue
}

fn is_live(world: &World, namespace: &str) -> bool {
    world
        .namespaces
        .get(&ObjectKey::cluster(namespace))
        .is_some_and(|namespace| !namespace.deleting)
}

/// There already, or the namespace is going: both are as they should be.
fn settle(result: Result<Value, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if client::is_exists(&error) || client::is_not_found(&error) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("being terminated") => Ok(()),
        other => other.map(drop),
    }
}
