//! Deletes pods from nodes with NoExecute taints, at once or when their tolerations have run out.

use client::ObjectKey;
use jiff::Timestamp;
use reconcile::{Next, Queue, Reconciler};
use serde_json::json;

use super::plan::{self, Leave};
use crate::conditions;
use crate::world::{BY_NODE, World};
use crate::write::{Kind, Patch, Writer};

/// The taint manager; keys are pods.
pub(crate) struct Evictor {
    world: World,
    writer: Writer,
    pod: Kind,
}

impl Evictor {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let (keys, nodes) = (queue.clone(), world.nodes.clone());
        world.pods.subscribe(move |change| {
            let Some(node) = change.after.as_ref().and_then(|pod| pod.node.clone()) else {
                return;
            };
            let tainted = nodes
                .get(&ObjectKey::cluster(node))
                .is_some_and(|node| !node.taints.is_empty());
            if tainted {
                keys.add(change.key.clone());
            }
        });
        let (keys, pods) = (queue.clone(), world.pods.clone());
        world.nodes.subscribe(move |change| {
            let Some(node) = change.after.as_ref().filter(|node| !node.taints.is_empty()) else {
                return;
            };
            if change
                .before
                .as_ref()
                .is_some_and(|before| before.taints == node.taints)
            {
                return;
            }
            pods.by(BY_NODE, &node.name)
                .iter()
                .for_each(|pod| keys.add(pod.key.clone()));
        });
        (
            Self {
                world: world.clone(),
                writer,
                pod: Kind::new("v1", "Pod", "pods"),
            },
            queue,
        )
    }
}

impl Reconciler for Evictor {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "taint-eviction"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(pod) = self.world.pods.get(key).filter(|pod| pod.is_active()) else {
            return Ok(Next::Change);
        };
        let node = pod
            .node
            .as_ref()
            .and_then(|node| self.world.nodes.get(&ObjectKey::cluster(node)));
        let Some(node) = node else { return Ok(Next::Change) };
        match plan::leave(&pod.tolerations, &node.taints, Timestamp::now()) {
            Leave::Never => Ok(Next::Change),
            Leave::After(time) => Ok(Next::After(time)),
            Leave::Now => {
                let about = self.pod.regarding(key, &pod.uid);
                self.writer.recorder.normal(
                    &about,
                    "TaintManagerEviction",
                    format!("Marking for deletion Pod {key}"),
                );
                let why = "Taint manager: deleting due to NoExecute taint";
                let body = conditions::disruption(&pod.uid, "DeletionByTaintManager", why);
                let marked = self.writer.patch_sub(&self.pod, key, "status", Patch::Strategic, &body);
                match marked.await {
                    Err(error) if !client::is_not_found(&error) => return Err(error),
                    _ => {}
                }
                self.writer.delete(&self.pod, key, &pod.uid, json!({})).await?;
                Ok(Next::Change)
            }
        }
    }
}
