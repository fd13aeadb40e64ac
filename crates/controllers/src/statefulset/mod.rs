//! Keeps pods that have a name, a number and claims of their own: stateful sets.

mod claims;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Informer, ObjectKey};
use jiff::Timestamp;
use meta::labels::Selector;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::children::{Children, Parent, is_namespace_going};
use crate::history::{Current, Found, Histories, Source};
use crate::owner;
use crate::world::{Pod, StatefulSet, StatefulStatus, World};
use crate::write::{Kind, Patch, Writer, count};

use self::plan::{NAME, REVISION, Step, ordinal};

/// The label of a pod with its number.
const INDEX: &str = "apps.kubernetes.io/pod-index";
/// The label of a revision with its hash.
const HASH: &str = "controller.kubernetes.io/hash";

/// The controller of stateful sets.
pub(crate) struct Controller {
    sets: Informer<StatefulSet>,
    children: Children,
    histories: Histories,
    writer: Writer,
    pod: Kind,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let kind = Kind::new("apps/v1", "StatefulSet", "statefulsets");
        let histories = Histories::new(kind.clone(), HASH, &world.revisions, &writer);
        let (queue, children) = (Queue::default(), Children::new(kind, &world.pods, &writer));
        let keys = queue.clone();
        world.statefulsets.subscribe(move |change| keys.add(change.key.clone()));
        children.follow(&world.statefulsets, &queue);
        let controller = Self {
            sets: world.statefulsets.clone(),
            children,
            histories,
            writer,
            pod: Kind::new("v1", "Pod", "pods"),
        };
        (controller, queue)
    }

    async fn bring_up(&self, set: &StatefulSet, found: &Found) -> Result<Next, kube::Error> {
        let settled = self.children.expected.met(&set.key);
        let pods = self.children.of(set, None).await?;
        let current = found.old.iter().find(|one| one.key.name == set.status.current_revision);
        let current_name = current.map_or(&found.name, |current| &current.key.name);
        let plan = plan::plan(set, &pods, (current_name, &found.name), settled, Timestamp::now());
        let templates = Templates {
            current: current.map(|current| &*current.data),
            current_name,
            new_name: &found.name,
        };
        let mut done = Ok(());
        for step in &plan.steps {
            done = self.act(set, &pods, step, &templates).await;
            if done.is_err() {
                break;
            }
        }
        if settled && done.is_ok() {
            done = self.clean_up(set, &pods, found, current_name).await;
        }
        self.write_status(set, &plan.status).await?;
        match done {
            Err(error) if !is_namespace_going(&error) => Err(error),
            _ => Ok(plan.wait.map_or(Next::Change, Next::After)),
        }
    }

    async fn act(
        &self,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
        step: &Step,
        templates: &Templates<'_>,
    ) -> Result<(), kube::Error> {
        let owner = &self.children.kind;
        match step {
            Step::Create { ordinal, current } => {
                claims::make(&self.writer, set, *ordinal, owner).await?;
                let body = templates.pod(set, *ordinal, *current, owner)?;
                let key = ObjectKey {
                    namespace: set.key.namespace.clone(),
                    name: pod_name(set, *ordinal),
                };
                self.children.create_as(set, &key, &body).await
            }
            Step::Claim(ordinal) => claims::make(&self.writer, set, *ordinal, owner).await,
            Step::Delete(uid) => {
                let Some(pod) = pods.iter().find(|pod| pod.uid == *uid) else {
                    return Ok(());
                };
                let number = ordinal(&set.key.name, &pod.key.name);
                let scaled_away = number.filter(|number| !(set.start..set.start + set.replicas).contains(number));
                if let Some(number) = scaled_away.filter(|_| set.claims_go_with_pods) {
                    claims::give_to(&self.writer, set, number, pod).await?;
                }
                self.children.delete(set, pod).await
            }
            Step::Name(uid) => {
                let Some(pod) = pods.iter().find(|pod| pod.uid == *uid) else {
                    return Ok(());
                };
                let body = json!({ "metadata": { "uid": uid, "labels": { NAME: pod.key.name } } });
                self.writer
                    .patch(&self.pod, &pod.key, Patch::Merge, &body)
                    .await
                    .map(drop)
            }
        }
    }

    async fn clean_up(
        &self,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
        found: &Found,
        current: &str,
    ) -> Result<(), kube::Error> {
        let used = |name: &str| {
            name == current
                || pods
                    .iter()
                    .any(|pod| pod.labels.get(REVISION).is_some_and(|it| it == name))
        };
        let unused: Vec<_> = found
            .old
            .iter()
            .filter(|revision| !used(&revision.key.name))
            .cloned()
            .collect();
        self.histories
            .clean_up(&unused, set.history_limit, &BTreeSet::new())
            .await
    }

    async fn write_status(&self, set: &StatefulSet, status: &StatefulStatus) -> Result<(), kube::Error> {
        if *status == set.status {
            return Ok(());
        }
        let body = json!({ "metadata": { "uid": set.uid }, "status": {
            "observedGeneration": status.observed_generation,
            "replicas": status.replicas,
            "readyReplicas": count(status.ready),
            "availableReplicas": status.available,
            "currentReplicas": count(status.current),
            "updatedReplicas": count(status.updated),
            "currentRevision": status.current_revision,
            "updateRevision": status.update_revision,
            "collisionCount": status.collisions,
        }});
        let written = self
            .writer
            .patch_sub(&self.children.kind, &set.key, "status", Patch::Merge, &body)
            .await;
        match written {
            Err(error) if !client::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// What pods are made from.
struct Templates<'a> {
    /// The data of the current revision, where it isn't the new one.
    current: Option<&'a str>,
    current_name: &'a str,
    new_name: &'a str,
}

impl Templates<'_> {
    /// The pod of this number.
    fn pod(&self, set: &StatefulSet, ordinal: i32, current: bool, owner: &Kind) -> Result<Value, kube::Error> {
        let read = |text: &str| serde_json::from_str::<Value>(text).map_err(kube::Error::SerdeError);
        let (template, revision) = match self.current.filter(|_| current) {
            Some(data) => (read(data)?["spec"]["template"].take(), self.current_name),
            None => (read(&set.template)?, self.new_name),
        };
        let name = pod_name(set, ordinal);
        let metadata = &template["metadata"];
        let mut labels = metadata["labels"].clone();
        labels[NAME] = name.as_str().into();
        labels[INDEX] = ordinal.to_string().into();
        labels[REVISION] = revision.into();
        let mut spec = template["spec"].clone();
        spec["hostname"] = name.as_str().into();
        spec["subdomain"] = set.service.as_str().into();
        claims::mount(set, &mut spec, ordinal);
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name, "generateName": format!("{}-", set.key.name), "namespace": set.key.namespace,
                "labels": labels, "annotations": metadata["annotations"], "finalizers": metadata["finalizers"],
                "ownerReferences": [owner::reference(owner, &set.key.name, &set.uid)],
            },
            "spec": spec,
        }))
    }
}

fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.key.name)
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "statefulset"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(set) = self.sets.get(key) else {
            self.children.expected.forget(key);
            return Ok(Next::Change);
        };
        if set.selector.is_none() {
            return Ok(Next::Change);
        }
        let source = Source {
            template: &set.template,
            annotations: &set.annotations,
            collisions: set.status.collisions,
        };
        match self.histories.current(&*set, &source).await {
            Ok(Current::Known(found)) => self.bring_up(&set, &found).await,
            Ok(Current::Collision) => {
                let status = StatefulStatus {
                    collisions: set.status.collisions + 1,
                    ..set.status.clone()
                };
                self.write_status(&set, &status).await?;
                Ok(Next::Change)
            }
            Err(error) if is_namespace_going(&error) => Ok(Next::Change),
            Err(error) => Err(error),
        }
    }
}

impl Parent for StatefulSet {
    fn key(&self) -> &ObjectKey {
        &self.key
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn deleting(&self) -> bool {
        self.deleting
    }

    fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }

    fn may_own(&self, pod: &Pod) -> bool {
        ordinal(&self.key.name, &pod.key.name).is_some()
    }
}
