//! Gives each node its part of the cluster's pod addresses.

mod plan;

use client::ObjectKey;
use ipnet::IpNet;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::json;

use crate::world::World;
use crate::write::{Kind, Patch, Writer};

/// The node IPAM controller; keys are nodes' names. Runs with one worker.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    kind: Kind,
    cluster: IpNet,
    mask: u8,
    /// Given out, perhaps not seen in the watch yet.
    given: Mutex<Vec<(String, IpNet)>>,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer, cluster: IpNet, mask: u8) -> (Self, Queue<String>) {
        let queue = Queue::default();
        let keys = queue.clone();
        world.nodes.subscribe(move |change| match &change.after {
            Some(node) if !node.pod_cidrs.is_empty() && change.before.is_some() => {}
            _ => keys.add(change.key.name.clone()),
        });
        let kind = Kind::new("v1", "Node", "nodes");
        (
            Self {
                world: world.clone(),
                writer,
                kind,
                cluster,
                mask,
                given: Mutex::default(),
            },
            queue,
        )
    }

    fn choose(&self, name: &str) -> Option<IpNet> {
        let nodes = self.world.nodes.list();
        let mut given = self.given.lock();
        given.retain(|(holder, _)| holder == name || nodes.iter().any(|node| node.name == *holder));
        if let Some((_, known)) = given.iter().find(|(holder, _)| holder == name) {
            return Some(*known);
        }
        let seen = nodes
            .iter()
            .flat_map(|node| &node.pod_cidrs)
            .filter_map(|text| text.parse().ok());
        let taken: Vec<IpNet> = seen.chain(given.iter().map(|(_, range)| *range)).collect();
        let free = plan::first_free(self.cluster, self.mask, &taken)?;
        given.push((name.to_owned(), free));
        Some(free)
    }
}

impl Reconciler for Controller {
    type Key = String;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "node-ipam"
    }

    async fn reconcile(&self, name: &String) -> Result<Next, kube::Error> {
        let key = ObjectKey::cluster(name);
        let Some(node) = self.world.nodes.get(&key) else {
            self.given.lock().retain(|(holder, _)| holder != name);
            return Ok(Next::Change);
        };
        if !node.pod_cidrs.is_empty() {
            return Ok(Next::Change);
        }
        let about = self.kind.regarding(&key, &node.uid);
        let Some(range) = self.choose(name) else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.writer.recorder.warning(&about, "CIDRNotAvailable", message);
            return Ok(Next::Change);
        };
        let body = json!({ "spec": { "podCIDR": range, "podCIDRs": [range] } });
        match self.writer.patch(&self.kind, &key, Patch::Merge, &body).await {
            Err(error) if client::is_not_found(&error) => Ok(Next::Change),
            other => other.map(|_| Next::Change),
        }
    }
}
