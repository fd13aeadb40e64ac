//! Keeps as many pods as a replica set wants; replication controllers work the same.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Change, Informer, ObjectKey};
use futures::future::join_all;
use hashbrown::HashMap;
use jiff::Timestamp;
use meta::labels::Selector;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::conditions;
use crate::expect::{Expectations, random_name};
use crate::owner::{self, Claim};
use crate::world::{BY_NAMESPACE, BY_OWNER, Pod, ReplicaSet, World};
use crate::write::{Kind, Patch, Writer, count};

use self::plan::Step;

/// The controller of one of the two kinds.
pub(crate) struct Controller {
    name: &'static str,
    kind: Kind,
    pod: Kind,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    writer: Writer,
    expected: Arc<Expectations>,
}

impl Controller {
    pub(crate) fn replica_sets(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let kind = Kind::new("apps/v1", "ReplicaSet", "replicasets");
        Self::of("replicaset", kind, world.replicasets.clone(), world, writer)
    }

    pub(crate) fn replication_controllers(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let kind = Kind::new("v1", "ReplicationController", "replicationcontrollers");
        Self::of(
            "replicationcontroller",
            kind,
            world.replicationcontrollers.clone(),
            world,
            writer,
        )
    }

    fn of(
        name: &'static str,
        kind: Kind,
        sets: Informer<ReplicaSet>,
        world: &World,
        writer: Writer,
    ) -> (Self, Queue<ObjectKey>) {
        let (queue, expected) = (Queue::default(), Arc::new(Expectations::default()));
        let keys = queue.clone();
        sets.subscribe(move |change| keys.add(change.key.clone()));
        let (keys, seen, all, ours) = (queue.clone(), expected.clone(), sets.clone(), kind.kind.clone());
        world
            .pods
            .subscribe(move |change| pod_changed(change, &ours, &all, &seen, &keys));
        let pod = Kind::new("v1", "Pod", "pods");
        (
            Self {
                name,
                kind,
                pod,
                sets,
                pods: world.pods.clone(),
                writer,
                expected,
            },
            queue,
        )
    }

    /// The pods of the set, after adoption and release.
    async fn own(&self, set: &ReplicaSet, selector: &Selector) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let mut own = Vec::new();
        let namespace = set.key.namespace.as_deref().unwrap_or_default();
        for pod in self.pods.by(BY_NAMESPACE, namespace) {
            let gone = pod.deleting || pod.has_ended() && pod.owner.is_none();
            match owner::claim(
                pod.owner.as_ref(),
                &set.uid,
                selector.matches(&pod.labels),
                gone,
                set.deleting,
            ) {
                Claim::Ours => own.push(pod),
                Claim::Adopt => {
                    let reference = owner::reference(&self.kind, &set.key.name, &set.uid);
                    owner::adopt(&self.writer, &self.pod, &pod.key, &pod.uid, reference).await?;
                    own.push(pod);
                }
                Claim::Release => owner::release(&self.writer, &self.pod, &pod.key, &pod.uid, &set.uid).await?,
                Claim::Leave => {}
            }
        }
        Ok(own)
    }

    /// Creates `wanted` pods in growing batches, so that a refusal costs few requests.
    async fn create(&self, set: &ReplicaSet, wanted: usize) -> Result<(), kube::Error> {
        let template: Value = serde_json::from_str(&set.template).map_err(kube::Error::SerdeError)?;
        let (mut left, mut batch) = (wanted, 1);
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| self.create_one(set, &template))).await;
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, set: &ReplicaSet, template: &Value) -> Result<(), kube::Error> {
        let prefix = format!("{}-", set.key.name);
        let key = ObjectKey {
            namespace: set.key.namespace.clone(),
            name: random_name(&prefix),
        };
        let metadata = &template["metadata"];
        let body = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": key.name, "generateName": prefix, "namespace": key.namespace,
                "labels": metadata["labels"], "annotations": metadata["annotations"],
                "finalizers": metadata["finalizers"],
                "ownerReferences": [owner::reference(&self.kind, &set.key.name, &set.uid)],
            },
            "spec": template["spec"],
        });
        let about = self.kind.regarding(&set.key, &set.uid);
        self.expected.will_create(&set.key, &key);
        match self.writer.create(&self.pod, key.namespace.as_deref(), &body).await {
            Ok(_) => {
                self.writer
                    .recorder
                    .normal(&about, "SuccessfulCreate", format!("Created pod: {}", key.name));
                Ok(())
            }
            Err(error) => {
                self.expected.not_created(&set.key, &key);
                if !is_namespace_going(&error) {
                    self.writer
                        .recorder
                        .warning(&about, "FailedCreate", format!("Error creating: {}", tell(&error)));
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &ReplicaSet, pods: &[Arc<Pod>], uids: &[String]) -> Result<(), kube::Error> {
        let doomed = uids.iter().filter_map(|uid| pods.iter().find(|pod| pod.uid == *uid));
        let results = join_all(doomed.map(|pod| self.delete_one(set, pod))).await;
        results.into_iter().collect()
    }

    async fn delete_one(&self, set: &ReplicaSet, pod: &Pod) -> Result<(), kube::Error> {
        let about = self.kind.regarding(&set.key, &set.uid);
        self.expected.will_delete(&set.key, &pod.uid);
        let deleted = self.writer.delete(&self.pod, &pod.key, &pod.uid, json!({})).await;
        match &deleted {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.key.name);
                self.writer.recorder.normal(&about, "SuccessfulDelete", message);
            }
            Err(error) => {
                self.expected.not_deleted(&set.key, &pod.uid);
                self.writer
                    .recorder
                    .warning(&about, "FailedDelete", format!("Error deleting: {}", tell(error)));
            }
        }
        deleted
    }

    /// How many active pods of the set's siblings (the sets of one deployment) each node has.
    fn siblings(&self, set: &ReplicaSet) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        let family = match &set.owner {
            Some(owner) => self
                .sets
                .by(BY_OWNER, &owner.uid)
                .iter()
                .map(|set| set.uid.clone())
                .collect(),
            None => vec![set.uid.clone()],
        };
        for pod in family
            .iter()
            .flat_map(|uid| self.pods.by(BY_OWNER, uid))
            .filter(|pod| pod.is_active())
        {
            if let Some(node) = &pod.node {
                *counts.entry(node.clone()).or_insert(0) += 1;
            }
        }
        counts
    }

    async fn write_status(
        &self,
        set: &ReplicaSet,
        pods: &[Arc<Pod>],
        failure: Option<(&str, String)>,
    ) -> Result<Next, kube::Error> {
        let (status, wait) = plan::status(set, pods, failure, Timestamp::now());
        if status != set.status {
            let body = json!({ "metadata": { "uid": set.uid }, "status": {
                "replicas": status.replicas,
                "fullyLabeledReplicas": count(status.labeled),
                "readyReplicas": count(status.ready),
                "availableReplicas": count(status.available),
                "observedGeneration": status.observed_generation,
                "conditions": conditions::to_json(&status.conditions, false),
            }});
            match self
                .writer
                .patch_sub(&self.kind, &set.key, "status", Patch::Merge, &body)
                .await
            {
                Err(error) if !client::is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(wait.map_or(Next::Change, Next::After))
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(set) = self.sets.get(key) else {
            self.expected.forget(key);
            return Ok(Next::Change);
        };
        let Some(selector) = &set.selector else {
            return Ok(Next::Change);
        };
        let may_scale = self.expected.met(key) && !set.deleting;
        let pods = self.own(&set, selector).await?;
        let step = match may_scale {
            true => plan::plan(&set, &pods, &self.siblings(&set), Timestamp::now()),
            false => Step::Nothing,
        };
        let (done, reason) = match &step {
            Step::Nothing => (Ok(()), ""),
            Step::Create(wanted) => (self.create(&set, *wanted).await, "FailedCreate"),
            Step::Delete(uids) => (self.delete(&set, &pods, uids).await, "FailedDelete"),
        };
        let failure = done.as_ref().err().map(|error| (reason, tell(error)));
        let next = self.write_status(&set, &pods, failure).await?;
        match done {
            Err(error) if is_namespace_going(&error) => Ok(Next::Change),
            Err(error) => Err(error),
            Ok(()) => Ok(next),
        }
    }
}

fn pod_changed(
    change: &Change<Pod>,
    kind: &str,
    sets: &Informer<ReplicaSet>,
    seen: &Expectations,
    queue: &Queue<ObjectKey>,
) {
    let owner_key = |pod: &Pod| {
        let owner = pod.owner.as_ref().filter(|owner| owner.kind == kind)?;
        Some(ObjectKey {
            namespace: pod.key.namespace.clone(),
            name: owner.name.clone(),
        })
    };
    let before = change.before.as_deref().and_then(owner_key);
    let after = change.after.as_deref().and_then(owner_key);
    for key in before
        .iter()
        .chain(after.iter().filter(|after| before.as_ref() != Some(after)))
    {
        seen.seen(key, change);
        queue.add(key.clone());
    }
    // An orphan may belong to any set that matches it.
    if let Some(pod) = change.after.as_deref().filter(|pod| pod.owner.is_none()) {
        for set in sets.by(BY_NAMESPACE, pod.key.namespace.as_deref().unwrap_or_default()) {
            if set
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches(&pod.labels))
            {
                queue.add(set.key.clone());
            }
        }
    }
}

fn is_namespace_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    status.code == 403 && causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// What users are told of a refusal: the API's own words.
fn tell(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
