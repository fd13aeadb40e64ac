//! Publishes which pods are behind a service: endpoint slices, and the older Endpoints object of the same content.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::ObjectKey;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::expect::random_name;
use crate::world::{BY_NAMESPACE, BY_SERVICE, Labels, Pod, Service, Slice, World};
use crate::write::{Kind, Patch, Writer};

use self::plan::Wanted;

/// The controller of one of the two kinds of answer.
pub(crate) struct Controller {
    name: &'static str,
    world: World,
    writer: Writer,
    write: Write,
}

enum Write {
    Slices(Kind),
    Endpoints(Kind),
}

impl Controller {
    pub(crate) fn slices(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = watch(world);
        let keys = queue.clone();
        world.slices.subscribe(move |change| {
            let known = [&change.before, &change.after];
            let Some(service) = known.into_iter().flatten().find_map(|slice| slice.service.as_deref()) else {
                return;
            };
            if let Some((namespace, name)) = service.split_once('/') {
                keys.add(ObjectKey::namespaced(namespace, name));
            }
        });
        let write = Write::Slices(Kind::new("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"));
        (
            Self {
                name: "endpointslice",
                world: world.clone(),
                writer,
                write,
            },
            queue,
        )
    }

    pub(crate) fn endpoints(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = watch(world);
        let keys = queue.clone();
        world.endpoints.subscribe(move |change| keys.add(change.key.clone()));
        let write = Write::Endpoints(Kind::new("v1", "Endpoints", "endpoints"));
        (
            Self {
                name: "endpoint",
                world: world.clone(),
                writer,
                write,
            },
            queue,
        )
    }

    async fn write_slices(&self, kind: &Kind, service: &Service, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let zones = |node: &str| self.world.nodes.get(&ObjectKey::cluster(node))?.zone.clone();
        let mut wanted = plan::slices(service, pods, &zones);
        let mut known = self.world.slices.by(BY_SERVICE, &service.key.to_string());
        known.sort_by(|one, other| one.key.name.cmp(&other.key.name));
        let labels = slice_labels(service);
        // Slices that are right stay; of the others those of the same family are rewritten, the rest goes.
        known.retain(|slice| {
            let same = wanted.iter().position(|wanted| is(slice, wanted));
            if let Some(at) = same.filter(|_| slice.labels == labels) {
                wanted.remove(at);
                return false;
            }
            true
        });
        for wanted in wanted {
            let at = known.iter().position(|slice| slice.address_type == wanted.family);
            let reused = at.map(|at| known.remove(at));
            self.write_slice(kind, service, reused.as_deref(), &wanted, &labels)
                .await?;
        }
        for slice in known {
            self.writer.delete(kind, &slice.key, &slice.uid, json!({})).await?;
        }
        Ok(())
    }

    async fn write_slice(
        &self,
        kind: &Kind,
        service: &Service,
        reused: Option<&Slice>,
        wanted: &Wanted,
        labels: &Labels,
    ) -> Result<(), kube::Error> {
        let service_kind = Kind::new("v1", "Service", "services");
        let mut body = json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "labels": labels,
                "ownerReferences": [crate::owner::reference(&service_kind, &service.key.name, &service.uid)],
            },
            "addressType": wanted.family,
            "endpoints": wanted.endpoints,
            "ports": wanted.ports,
        });
        if let Some(slice) = reused {
            for gone in slice.labels.keys().filter(|label| !labels.contains_key(*label)) {
                body["metadata"]["labels"][gone] = Value::Null;
            }
            return self.writer.patch(kind, &slice.key, Patch::Merge, &body).await.map(drop);
        }
        let prefix = format!("{}-", service.key.name);
        body["metadata"]["name"] = random_name(&prefix).into();
        body["metadata"]["generateName"] = prefix.into();
        settle(self.writer.create(kind, service.key.namespace.as_deref(), &body).await)
    }

    async fn write_endpoints(&self, kind: &Kind, service: &Service, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let subsets = plan::subsets(service, pods);
        let known = self.world.endpoints.get(&service.key);
        let mut labels = service.labels.clone();
        labels.insert(
            "endpoints.kubernetes.io/managed-by".into(),
            "endpoint-controller".into(),
        );
        if service.headless {
            labels.insert("service.kubernetes.io/headless".into(), String::new());
        }
        let mut body = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": { "name": service.key.name, "labels": labels },
            "subsets": subsets,
        });
        let Some(known) = known else {
            return settle(self.writer.create(kind, service.key.namespace.as_deref(), &body).await);
        };
        let current = serde_json::to_value(&known.subsets).map_err(kube::Error::SerdeError)?;
        if known.labels == labels && current == Value::Array(subsets) {
            return Ok(());
        }
        for gone in known.labels.keys().filter(|label| !labels.contains_key(*label)) {
            body["metadata"]["labels"][gone] = Value::Null;
        }
        self.writer
            .patch(kind, &service.key, Patch::Merge, &body)
            .await
            .map(drop)
    }

    /// The service is gone or selects nothing: what was made for it goes, what others made stays.
    async fn clear(&self, key: &ObjectKey, selectorless: bool) -> Result<(), kube::Error> {
        match &self.write {
            Write::Slices(kind) => {
                for slice in self.world.slices.by(BY_SERVICE, &key.to_string()) {
                    self.writer.delete(kind, &slice.key, &slice.uid, json!({})).await?;
                }
            }
            Write::Endpoints(kind) if !selectorless => {
                if self.world.endpoints.get(key).is_some_and(|known| known.ours) {
                    self.writer.delete(kind, key, "", json!({})).await?;
                }
            }
            Write::Endpoints(_) => {}
        }
        Ok(())
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let service = self.world.services.get(key);
        let selected = service
            .as_ref()
            .filter(|service| !service.deleting && !service.external_name);
        let Some((service, selector)) = selected.and_then(|service| Some((service, service.selector.as_ref()?))) else {
            self.clear(key, service.is_some()).await?;
            return Ok(Next::Change);
        };
        let pods = self
            .world
            .pods
            .by(BY_NAMESPACE, key.namespace.as_deref().unwrap_or_default());
        let pods: Vec<_> = pods.into_iter().filter(|pod| selects(selector, &pod.labels)).collect();
        match &self.write {
            Write::Slices(kind) => self.write_slices(kind, service, &pods).await?,
            Write::Endpoints(kind) => self.write_endpoints(kind, service, &pods).await?,
        }
        Ok(Next::Change)
    }
}

fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Queues services for their own changes and for those of pods that they select or selected.
fn watch(world: &World) -> Queue<ObjectKey> {
    let queue: Queue<ObjectKey> = Queue::default();
    let keys = queue.clone();
    world.services.subscribe(move |change| keys.add(change.key.clone()));
    let (keys, services) = (queue.clone(), world.services.clone());
    world.pods.subscribe(move |change| {
        for service in services
            .list()
            .iter()
            .filter(|service| service.key.namespace == change.key.namespace)
        {
            let Some(selector) = &service.selector else { continue };
            let sides = [&change.before, &change.after];
            if sides.into_iter().flatten().any(|pod| selects(selector, &pod.labels)) {
                keys.add(service.key.clone());
            }
        }
    });
    let (keys, services) = (queue.clone(), world.services.clone());
    world.nodes.subscribe(move |change| {
        // Endpoints say in which zone they are. A new node has none yet.
        let zone = |node: &Option<Arc<crate::world::Node>>| node.as_ref().and_then(|node| node.zone.clone());
        if zone(&change.before) != zone(&change.after) {
            services.list().iter().for_each(|service| keys.add(service.key.clone()));
        }
    });
    queue
}

fn slice_labels(service: &Service) -> Labels {
    let mut labels = service.labels.clone();
    labels.insert("kubernetes.io/service-name".into(), service.key.name.clone());
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".into(),
        "endpointslice-controller.k8s.io".into(),
    );
    if service.headless {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    labels
}

/// Whether a slice already is what is wanted.
fn is(slice: &Slice, wanted: &Wanted) -> bool {
    let same = |known: serde_json::Result<Value>, wanted: &[Value]| {
        known.is_ok_and(|known| known.as_array().is_some_and(|known| known.as_slice() == wanted))
    };
    slice.address_type == wanted.family
        && same(serde_json::to_value(&slice.endpoints), &wanted.endpoints)
        && same(serde_json::to_value(&slice.ports), &wanted.ports)
}

/// A namespace that is going away takes nothing new, and needs nothing new.
fn settle(result: Result<Value, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 || status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
