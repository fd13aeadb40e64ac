//! Mirrors Endpoints that people write themselves, for services that select no pods, into endpoint slices: what routes and
//! names services reads those alone.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::ObjectKey;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::expect::random_name;
use crate::world::{BY_MIRRORED, Endpoints, Labels, Slice, World};
use crate::write::{Kind, Writer};

use self::plan::Wanted;

/// The name that slices bear which this controller has made.
pub(crate) const NAME: &str = "endpointslicemirroring-controller.k8s.io";

/// The mirroring controller; keys are Endpoints.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    slice: Kind,
    endpoints: Kind,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue: Queue<ObjectKey> = Queue::default();
        let keys = queue.clone();
        world.endpoints.subscribe(move |change| keys.add(change.key.clone()));
        let keys = queue.clone();
        world.services.subscribe(move |change| {
            // Only whether it is there and selects pods is of interest.
            let selects = |service: &Option<Arc<crate::world::Service>>| {
                service.as_ref().map(|service| service.selector.is_some())
            };
            if selects(&change.before) != selects(&change.after) {
                keys.add(change.key.clone());
            }
        });
        let keys = queue.clone();
        world.slices.subscribe(move |change| {
            let known = [&change.before, &change.after];
            let mirrored = known.into_iter().flatten().find_map(|slice| slice.mirrored.as_deref());
            if let Some((namespace, name)) = mirrored.and_then(|mirrored| mirrored.split_once('/')) {
                keys.add(ObjectKey::namespaced(namespace, name));
            }
        });
        let controller = Self {
            world: world.clone(),
            writer,
            slice: Kind::new("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
            endpoints: Kind::new("v1", "Endpoints", "endpoints"),
        };
        (controller, queue)
    }

    /// The Endpoints to mirror under this key.
    fn mirrored(&self, key: &ObjectKey) -> Option<Arc<Endpoints>> {
        let service = self.world.services.get(key)?;
        let endpoints = self.world.endpoints.get(key)?;
        (service.selector.is_none() && endpoints.is_mirrored).then_some(endpoints)
    }

    async fn create(&self, key: &ObjectKey, endpoints: &Endpoints, wanted: &Wanted) -> Result<(), kube::Error> {
        let prefix = format!("{}-", key.name);
        let body = json!({
            "apiVersion": self.slice.api_version,
            "kind": self.slice.kind,
            "metadata": {
                "name": random_name(&prefix),
                "generateName": prefix,
                "labels": labels(key, endpoints),
                "annotations": endpoints.annotations,
                "ownerReferences": [crate::owner::reference(&self.endpoints, &key.name, &endpoints.uid)],
            },
            "addressType": wanted.family,
            "endpoints": wanted.endpoints,
            "ports": wanted.ports,
        });
        match self.writer.create(&self.slice, key.namespace.as_deref(), &body).await {
            // A namespace that is going away takes nothing new, and needs nothing new.
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "endpointslicemirroring"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let mut known = self.world.slices.by(BY_MIRRORED, &key.to_string());
        if let Some(endpoints) = self.mirrored(key) {
            let labels = labels(key, &endpoints);
            for wanted in plan::slices(&endpoints.subsets) {
                let right = |slice: &Arc<Slice>| {
                    slice.labels == labels && slice.annotations == endpoints.annotations && is(slice, &wanted)
                };
                match known.iter().position(right) {
                    Some(at) => drop(known.remove(at)),
                    // What replaces a slice is there before that goes.
                    None => self.create(key, &endpoints, &wanted).await?,
                }
            }
        }
        for slice in known {
            self.writer
                .delete(&self.slice, &slice.key, &slice.uid, json!({}))
                .await?;
        }
        Ok(Next::Change)
    }
}

fn labels(key: &ObjectKey, endpoints: &Endpoints) -> Labels {
    let mut labels = endpoints.labels.clone();
    labels.insert("kubernetes.io/service-name".into(), key.name.clone());
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), NAME.into());
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
