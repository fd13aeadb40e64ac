//! Empties a namespace that is being deleted, tells what is left, and lets it go.

mod plan;

use std::time::Duration;

use client::ObjectKey;
use jiff::Timestamp;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::conditions;
use crate::discover::{self, Resource};
use crate::world::World;
use crate::write::{Kind, Patch, Writer};

use self::plan::Sweep;

const FINALIZER: &str = "kubernetes";
/// While content is left that no watch of ours shows, the namespace is looked at again after this time.
const AGAIN: Duration = Duration::from_millis(250);

/// The namespace controller; keys are names.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    kind: Kind,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<String>) {
        let queue = Queue::default();
        let keys = queue.clone();
        world.namespaces.subscribe(move |change| {
            if change.after.as_ref().is_some_and(|namespace| namespace.deleting) {
                keys.add(change.key.name.clone());
            }
        });
        // The last pod of a namespace is what mostly holds it.
        let (keys, namespaces) = (queue.clone(), world.namespaces.clone());
        world.pods.subscribe(move |change| {
            let Some(namespace) = change.key.namespace.clone().filter(|_| change.after.is_none()) else {
                return;
            };
            if namespaces
                .get(&ObjectKey::cluster(&namespace))
                .is_some_and(|namespace| namespace.deleting)
            {
                keys.add(namespace);
            }
        });
        (
            Self {
                world: world.clone(),
                writer,
                kind: Kind::new("v1", "Namespace", "namespaces"),
            },
            queue,
        )
    }

    /// Deletes all that is in the namespace, and says what is left. Pods go first and alone: as long as one is there, what
    /// guards it (a network policy, say) and what it uses must not go.
    async fn sweep(&self, namespace: &str) -> Sweep {
        let mut sweep = Sweep::default();
        let found = match discover::resources(&self.writer).await {
            Ok(found) => found,
            Err(error) => {
                sweep.undiscovered = Some(error.to_string());
                return sweep;
            }
        };
        // What could be found goes, but the namespace stays until all is known.
        sweep.undiscovered = found.incomplete();
        let mut resources = found.resources;
        resources.retain(|resource| resource.namespaced && resource.can("delete") && resource.can("list"));
        let is_pods = |resource: &Resource| resource.kind.plural == "pods" && resource.kind.api_version == "v1";
        resources.sort_by_key(|resource| (!is_pods(resource), resource.kind.plural == "events"));
        for resource in resources.iter().filter(|resource| !is_alias(resource)) {
            if let Err(error) = self.sweep_one(namespace, resource, &mut sweep).await {
                sweep.errors.push(format!("{}: {error}", name(resource)));
            }
            if is_pods(resource) && !(sweep.left.is_empty() && sweep.errors.is_empty()) {
                break;
            }
        }
        sweep
    }

    async fn sweep_one(&self, namespace: &str, resource: &Resource, sweep: &mut Sweep) -> Result<(), kube::Error> {
        let path = resource.kind.path(Some(namespace));
        if items(&self.writer.get(&path).await?).is_empty() {
            return Ok(());
        }
        if resource.can("deletecollection") {
            let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
            self.writer
                .send(http::Method::DELETE, &path, "application/json", &options)
                .await?;
        }
        for item in items(&self.writer.get(&path).await?) {
            if !resource.can("deletecollection") {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                self.writer
                    .delete(&resource.kind, &ObjectKey::namespaced(namespace, name), "", json!({}))
                    .await?;
            }
            *sweep.left.entry(name(resource)).or_insert(0) += 1;
            for finalizer in item["metadata"]["finalizers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                *sweep.finalizers.entry(finalizer.to_owned()).or_insert(0) += 1;
            }
        }
        Ok(())
    }

    /// Takes our finalizer away: the API then removes the namespace.
    async fn finalize(&self, name: &str, finalizers: &[String]) -> Result<(), kube::Error> {
        let rest: Vec<_> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        let path = format!("{}/{name}", self.kind.path(None));
        let mut object = self.writer.get(&path).await?;
        // The finalize subresource takes a whole object; what is sent back is the raw JSON, nothing typed.
        object["spec"]["finalizers"] = json!(rest);
        self.writer
            .send(
                http::Method::PUT,
                &format!("{path}/finalize"),
                "application/json",
                &object,
            )
            .await
            .map(drop)
    }
}

impl Reconciler for Controller {
    type Key = String;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "namespace"
    }

    async fn reconcile(&self, name: &String) -> Result<Next, kube::Error> {
        let key = ObjectKey::cluster(name);
        let Some(namespace) = self.world.namespaces.get(&key).filter(|namespace| namespace.deleting) else {
            return Ok(Next::Change);
        };
        if !namespace.finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Next::Change);
        }
        let sweep = self.sweep(name).await;
        let conditions = plan::conditions(&namespace.conditions, &sweep, Timestamp::now());
        if conditions != namespace.conditions {
            let status = json!({ "status": { "conditions": conditions::to_json(&conditions, false) } });
            match self
                .writer
                .patch_sub(&self.kind, &key, "status", Patch::Merge, &status)
                .await
            {
                Err(error) if client::is_not_found(&error) => return Ok(Next::Change),
                other => drop(other?),
            }
        }
        if !sweep.is_clean() {
            return Ok(Next::After(AGAIN));
        }
        match self.finalize(name, &namespace.finalizers).await {
            Err(error) if client::is_not_found(&error) => Ok(Next::Change),
            other => other.map(|()| Next::Change),
        }
    }
}

/// Events are served by two groups; one of them is enough.
fn is_alias(resource: &Resource) -> bool {
    resource.kind.plural == "events" && resource.kind.api_version != "v1"
}

/// The name that conditions use: the plural with the group, and a dot also for the group without a name.
fn name(resource: &Resource) -> String {
    let group = resource.kind.api_version.split_once('/').map_or("", |(group, _)| group);
    format!("{}.{group}", resource.kind.plural)
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}
