//! Watches over nodes: a silent one becomes unknown and tainted, and pods leave nodes whose taints they don't tolerate.

mod evict;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::ObjectKey;
use hashbrown::HashMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::json;
use tokio::time::Instant;

use crate::conditions;
use crate::world::{BY_NODE, Condition, Node, World};
use crate::write::{Kind, Patch, Writer};

pub(crate) use evict::Evictor;
pub(crate) use plan::tolerates;

/// The node lifecycle controller; keys are names.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    kind: Kind,
    pod: Kind,
    heard: Arc<Heard>,
}

/// When each node was last heard of, by our own clock: nodes' clocks may be wrong.
#[derive(Default)]
struct Heard(Mutex<HashMap<String, (Option<Timestamp>, Instant)>>);

impl Heard {
    /// Notes a sign of life; the same sign seen again is none.
    fn note(&self, node: &str, sign: Option<Timestamp>) {
        let mut all = self.0.lock();
        match all.get_mut(node) {
            Some((known, when)) if sign > *known => (*known, *when) = (sign, Instant::now()),
            Some(_) => {}
            None => drop(all.insert(node.to_owned(), (sign, Instant::now()))),
        }
    }

    fn silent_for(&self, node: &str) -> Duration {
        self.0
            .lock()
            .get(node)
            .map_or(Duration::ZERO, |(_, when)| when.elapsed())
    }
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<String>) {
        let (queue, heard) = (Queue::default(), Arc::new(Heard::default()));
        let (keys, signs) = (queue.clone(), heard.clone());
        world.nodes.subscribe(move |change| {
            match &change.after {
                Some(node) => signs.note(&node.name, node.heartbeat),
                None => drop(signs.0.lock().remove(&change.key.name)),
            }
            keys.add(change.key.name.clone());
        });
        let (keys, signs, nodes) = (queue.clone(), heard.clone(), world.nodes.clone());
        world.leases.subscribe(move |change| {
            let Some(lease) = &change.after else { return };
            let back = signs.silent_for(&lease.name) > plan::GRACE;
            if nodes.get(&ObjectKey::cluster(&lease.name)).is_some() {
                signs.note(&lease.name, lease.renewed);
            }
            // A renewal only matters for a node that was lost; the others are looked at when their time is up.
            if back {
                keys.add(lease.name.clone());
            }
        });
        let controller = Self {
            world: world.clone(),
            writer,
            kind: Kind::new("v1", "Node", "nodes"),
            pod: Kind::new("v1", "Pod", "pods"),
            heard,
        };
        (controller, queue)
    }

    /// Nobody can say any more that the pods of a lost node are ready.
    async fn unready_pods(&self, node: &Node) -> Result<(), kube::Error> {
        for pod in self
            .world
            .pods
            .by(BY_NODE, &node.name)
            .iter()
            .filter(|pod| pod.ready.is_some())
        {
            let condition = json!({ "type": "Ready", "status": "False", "lastTransitionTime": meta::time::now() });
            let body = json!({ "metadata": { "uid": pod.uid }, "status": { "conditions": [condition] } });
            match self
                .writer
                .patch_sub(&self.pod, &pod.key, "status", Patch::Strategic, &body)
                .await
            {
                Err(error) if !client::is_not_found(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn mark_lost(&self, node: &Node, conditions: &[Condition]) -> Result<(), kube::Error> {
        let body = json!({ "status": { "conditions": conditions::to_json(conditions, false) } });
        let key = ObjectKey::cluster(&node.name);
        self.writer
            .patch_sub(&self.kind, &key, "status", Patch::Strategic, &body)
            .await?;
        let about = self.kind.regarding(&key, &node.uid);
        let message = format!("Node {} status is now: NodeNotReady", node.name);
        self.writer.recorder.normal(&about, "NodeNotReady", message);
        Ok(())
    }
}

impl Reconciler for Controller {
    type Key = String;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    async fn reconcile(&self, name: &String) -> Result<Next, kube::Error> {
        let key = ObjectKey::cluster(name);
        let Some(node) = self.world.nodes.get(&key) else {
            return Ok(Next::Change);
        };
        let now = Timestamp::now();
        let silent = self.heard.silent_for(name);
        if silent >= plan::GRACE {
            let conditions = plan::lost(&node, now);
            if !conditions.is_empty() {
                // The change comes back as an event, and then brings the taints.
                self.mark_lost(&node, &conditions).await?;
            }
        }
        let taints = plan::taints(&node, now);
        if !plan::same(&taints, &node.taints) {
            let body = json!({ "metadata": { "resourceVersion": node.version }, "spec": { "taints": taints } });
            match self.writer.patch(&self.kind, &key, Patch::Merge, &body).await {
                Err(error) if client::is_conflict(&error) => return Ok(Next::After(Duration::from_millis(20))),
                other => drop(other?),
            }
        }
        if !Condition::find(&node.conditions, "Ready").is_some_and(Condition::is_true) {
            self.unready_pods(&node).await?;
        }
        Ok(Next::After(
            plan::GRACE.saturating_sub(silent).max(Duration::from_secs(1)),
        ))
    }
}
