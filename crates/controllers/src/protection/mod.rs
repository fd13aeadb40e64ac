//! Keeps claims, volumes and classes of volumes' attributes until nobody uses them: takes the finalizers off that
//! admission has put on.

mod plan;

use client::{Informer, ObjectKey};
use http::Method;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::world::{Protected, World};
use crate::write::{Kind, Writer};

/// What is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Claims,
    Volumes,
    AttributesClasses,
}

impl What {
    /// The finalizer.
    pub(crate) fn finalizer(self) -> &'static str {
        match self {
            What::Claims => "kubernetes.io/pvc-protection",
            What::Volumes => "kubernetes.io/pv-protection",
            What::AttributesClasses => "kubernetes.io/vac-protection",
        }
    }

    fn kind(self) -> Kind {
        match self {
            What::Claims => Kind::new("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            What::Volumes => Kind::new("v1", "PersistentVolume", "persistentvolumes"),
            What::AttributesClasses => {
                Kind::new("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses")
            }
        }
    }

    fn informer(self, world: &World) -> &Informer<Protected> {
        match self {
            What::Claims => &world.claims,
            What::Volumes => &world.volumes,
            What::AttributesClasses => &world.attributes_classes,
        }
    }
}

/// One of the protection controllers; keys are the protected objects.
pub(crate) struct Controller {
    what: What,
    objects: Informer<Protected>,
    writer: Writer,
    kind: Kind,
}

impl Controller {
    pub(crate) fn new(what: What, world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let objects = what.informer(world).clone();
        let keys = queue.clone();
        objects.subscribe(move |change| {
            // Those that go and are held, and those that aren't held yet.
            if change
                .after
                .as_ref()
                .is_some_and(|object| object.deleting == object.held)
            {
                keys.add(change.key.clone());
            }
        });
        let waiting = Waiting {
            objects: objects.clone(),
            queue: queue.clone(),
        };
        match what {
            What::Claims => world.pods.subscribe(move |change| {
                let changed = match (&change.before, &change.after) {
                    (Some(before), Some(after)) => before.counted != after.counted || before.uid != after.uid,
                    (before, _) => before.is_some(),
                };
                if changed {
                    waiting.look_again(change.key.namespace.as_deref());
                }
            }),
            What::Volumes => {}
            What::AttributesClasses => {
                for users in [&world.claims, &world.volumes] {
                    let waiting = waiting.clone();
                    users.subscribe(move |change| {
                        if change.before.is_some() {
                            waiting.look_again(None);
                        }
                    });
                }
            }
        }
        let kind = what.kind();
        (
            Self {
                what,
                objects,
                writer,
                kind,
            },
            queue,
        )
    }

    /// Whether an object that is being deleted is still used, as the API has it now.
    async fn is_used(&self, object: &Value) -> Result<bool, kube::Error> {
        match self.what {
            What::Claims => {
                let namespace = object["metadata"]["namespace"].as_str();
                let pods = self.items(&Kind::new("v1", "Pod", "pods"), namespace).await?;
                Ok(pods.iter().any(|pod| plan::pod_uses(pod, object)))
            }
            What::Volumes => Ok(object["status"]["phase"] == "Bound"),
            What::AttributesClasses => {
                let class = object["metadata"]["name"].as_str().unwrap_or_default();
                let volumes = self.items(&What::Volumes.kind(), None).await?;
                if volumes.iter().any(|volume| plan::volume_uses(volume, class)) {
                    return Ok(true);
                }
                let claims = self.items(&What::Claims.kind(), None).await?;
                Ok(claims.iter().any(|claim| plan::claim_uses(claim, class)))
            }
        }
    }

    async fn items(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, kube::Error> {
        let mut list = self.writer.get(&kind.path(namespace)).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}

/// The objects whose deletion waits for others.
#[derive(Clone)]
struct Waiting {
    objects: Informer<Protected>,
    queue: Queue<ObjectKey>,
}

impl Waiting {
    fn look_again(&self, namespace: Option<&str>) {
        for object in self.objects.list() {
            let here = namespace.is_none() || object.key.namespace.as_deref() == namespace;
            if object.deleting && object.held && here {
                self.queue.add(object.key.clone());
            }
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        match self.what {
            What::Claims => "pvc-protection",
            What::Volumes => "pv-protection",
            What::AttributesClasses => "vac-protection",
        }
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        if self.objects.get(key).is_none_or(|seen| seen.deleting != seen.held) {
            return Ok(Next::Change);
        }
        let path = format!("{}/{}", self.kind.path(key.namespace.as_deref()), key.name);
        let mut object = match self.writer.get(&path).await {
            Ok(object) => object,
            Err(error) if client::is_not_found(&error) => return Ok(Next::Change),
            Err(error) => return Err(error),
        };
        let finalizer = self.what.finalizer();
        let finalizers = object["metadata"]["finalizers"].as_array().cloned();
        let mut finalizers = finalizers.unwrap_or_default();
        let held = finalizers.iter().any(|one| one == finalizer);
        let deleting = object["metadata"]["deletionTimestamp"].is_string();
        if deleting != held || deleting && self.is_used(&object).await? {
            return Ok(Next::Change);
        }
        match deleting {
            true => finalizers.retain(|one| one != finalizer),
            false => finalizers.push(finalizer.into()),
        }
        object["metadata"]["finalizers"] = json!(finalizers);
        match self.writer.send(Method::PUT, &path, "application/json", &object).await {
            Err(error) if client::is_not_found(&error) => Ok(Next::Change),
            other => other.map(|_| Next::Change),
        }
    }
}
