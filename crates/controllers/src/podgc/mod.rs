//! Removes pods that no node will ever finish: their node is gone, or they were deleted before they had one.

use std::time::Duration;

use client::ObjectKey;
use hashbrown::HashMap;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::json;
use tokio::time::Instant;

use crate::conditions;
use crate::world::{BY_NODE, World};
use crate::write::{Kind, Patch, Writer};

/// How long a node must be gone: it may come back under its name.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The pod garbage collector; keys are pods.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    pod: Kind,
    /// Since when nodes that pods name are missing.
    missing: Mutex<HashMap<String, Instant>>,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let (keys, nodes) = (queue.clone(), world.nodes.clone());
        world.pods.subscribe(move |change| {
            let Some(pod) = &change.after else { return };
            let lost = match &pod.node {
                Some(node) => nodes.get(&ObjectKey::cluster(node)).is_none(),
                None => pod.deleting,
            };
            if lost {
                keys.add(change.key.clone());
            }
        });
        let (keys, pods) = (queue.clone(), world.pods.clone());
        world.nodes.subscribe(move |change| {
            if change.after.is_none() {
                pods.by(BY_NODE, &change.key.name)
                    .iter()
                    .for_each(|pod| keys.add(pod.key.clone()));
            }
        });
        let pod = Kind::new("v1", "Pod", "pods");
        (
            Self {
                world: world.clone(),
                writer,
                pod,
                missing: Mutex::default(),
            },
            queue,
        )
    }

    /// How long the node has yet to be missing; none when it is there.
    fn left(&self, node: &str) -> Option<Duration> {
        let mut missing = self.missing.lock();
        if self.world.nodes.get(&ObjectKey::cluster(node)).is_some() {
            missing.remove(node);
            return None;
        }
        let since = *missing.entry(node.to_owned()).or_insert_with(Instant::now);
        Some(QUARANTINE.saturating_sub(since.elapsed()))
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(pod) = self.world.pods.get(key) else {
            return Ok(Next::Change);
        };
        match &pod.node {
            Some(node) => match self.left(node) {
                None => return Ok(Next::Change),
                Some(left) if !left.is_zero() => return Ok(Next::After(left)),
                Some(_) => {}
            },
            None if !pod.deleting => return Ok(Next::Change),
            None => {}
        }
        if !pod.has_ended() && pod.node.is_some() {
            let mut body = conditions::disruption(&pod.uid, "DeletionByPodGC", "PodGC: node no longer exists");
            body["status"]["phase"] = "Failed".into();
            match self
                .writer
                .patch_sub(&self.pod, key, "status", Patch::Strategic, &body)
                .await
            {
                Err(error) if !client::is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
        self.writer
            .delete(&self.pod, key, &pod.uid, json!({ "gracePeriodSeconds": 0 }))
            .await?;
        Ok(Next::Change)
    }
}
