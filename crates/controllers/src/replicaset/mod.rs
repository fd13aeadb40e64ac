//! Keeps as many pods as a replica set wants; replication controllers work the same.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Informer, ObjectKey};
use futures::future::join_all;
use hashbrown::HashMap;
use jiff::Timestamp;
use meta::labels::Selector;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::children::{Children, Parent, is_namespace_going, tell};
use crate::conditions;
use crate::world::{BY_OWNER, Pod, ReplicaSet, World};
use crate::write::{Kind, Patch, Writer, count};

use self::plan::Step;

/// The controller of one of the two kinds.
pub(crate) struct Controller {
    name: &'static str,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    writer: Writer,
    children: Children,
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
        let (queue, children) = (Queue::default(), Children::new(kind, &world.pods, &writer));
        let keys = queue.clone();
        sets.subscribe(move |change| keys.add(change.key.clone()));
        children.follow(&sets, &queue);
        (
            Self {
                name,
                sets,
                pods: world.pods.clone(),
                writer,
                children,
            },
            queue,
        )
    }

    /// Creates `wanted` pods in growing batches, so that a refusal costs few requests.
    async fn create(&self, set: &ReplicaSet, wanted: usize) -> Result<(), kube::Error> {
        let template: Value = serde_json::from_str(&set.template).map_err(kube::Error::SerdeError)?;
        let prefix = format!("{}-", set.key.name);
        let (mut left, mut batch) = (wanted, 1);
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| self.children.create(set, &prefix, &template))).await;
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, set: &ReplicaSet, pods: &[Arc<Pod>], uids: &[String]) -> Result<(), kube::Error> {
        let doomed = uids.iter().filter_map(|uid| pods.iter().find(|pod| pod.uid == *uid));
        let results = join_all(doomed.map(|pod| self.children.delete(set, pod))).await;
        results.into_iter().collect()
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
                .patch_sub(&self.children.kind, &set.key, "status", Patch::Merge, &body)
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
            self.children.expected.forget(key);
            return Ok(Next::Change);
        };
        if set.selector.is_none() {
            return Ok(Next::Change);
        }
        let may_scale = self.children.expected.met(key) && !set.deleting;
        let pods = self.children.of(&*set, None).await?;
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

impl Parent for ReplicaSet {
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
}
