//! All nodes with what their pods take, changed by events and by our own decisions. No API, no queue.

use std::sync::Arc;

use hashbrown::HashMap;
use meta::ObjectKey;

use crate::intern::Sym;
use crate::model::{Node, NodeSpec, Pod};
use crate::plugins::Events;

/// The nodes, dense for iteration, and which pod is counted where.
#[derive(Default)]
pub(crate) struct Cache {
    pub(crate) nodes: Vec<Node>,
    by_name: HashMap<Sym, usize>,
    placed: HashMap<ObjectKey, Placed>,
    /// Pods on nodes that are not known (yet).
    waiting: HashMap<Sym, Vec<ObjectKey>>,
}

struct Placed {
    pod: Arc<Pod>,
    node: Sym,
    /// Decided by us, not yet seen in the API.
    assumed: bool,
}

impl Cache {
    pub(crate) fn node(&self, name: Sym) -> Option<&Node> {
        self.by_name.get(&name).and_then(|at| self.nodes.get(*at))
    }

    /// Takes a node's new state, and says what about it may help waiting pods.
    pub(crate) fn set_node(&mut self, spec: &NodeSpec) -> Events {
        let name = Sym::of(&spec.name);
        if let Some(node) = self.by_name.get(&name).and_then(|at| self.nodes.get_mut(*at)) {
            let old = &node.spec;
            let mut events = Events::NONE;
            for (changed, event) in [
                (
                    old.allocatable != spec.allocatable || old.max_pods != spec.max_pods,
                    Events::NODE_CAPACITY,
                ),
                (old.labels != spec.labels, Events::NODE_LABELS),
                (
                    old.taints != spec.taints || old.unschedulable != spec.unschedulable,
                    Events::NODE_TAINTS,
                ),
            ] {
                if changed {
                    events = events.or(event);
                }
            }
            if events != Events::NONE {
                node.spec = spec.clone();
            }
            return events;
        }
        let mut node = Node::new(spec.clone());
        for key in self.waiting.remove(&name).unwrap_or_default() {
            if let Some(placed) = self.placed.get(&key).filter(|placed| placed.node == name) {
                node.take(&placed.pod);
            }
        }
        self.by_name.insert(name, self.nodes.len());
        self.nodes.push(node);
        Events::NODE_ADDED
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let name = Sym::of(name);
        let Some(at) = self.by_name.remove(&name) else { return };
        self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(moved.name, at);
        }
        let left = self
            .placed
            .iter()
            .filter(|(_, placed)| placed.node == name)
            .map(|(key, _)| key.clone());
        let left: Vec<_> = left.collect();
        if !left.is_empty() {
            self.waiting.insert(name, left);
        }
    }

    /// Counts a pod on a node before the API knows.
    pub(crate) fn assume(&mut self, pod: &Arc<Pod>, node: Sym) {
        self.place(pod.clone(), node, true);
    }

    /// Counts a pod where the API has it.
    pub(crate) fn confirm(&mut self, pod: &Arc<Pod>, node: Sym) {
        self.remove_pod(&pod.key);
        self.place(pod.clone(), node, false);
    }

    /// Takes an assumed pod back; one that the API has placed meanwhile stays.
    pub(crate) fn forget(&mut self, key: &ObjectKey) -> Option<Sym> {
        self.is_assumed(key).then(|| self.remove_pod(key)).flatten()
    }

    pub(crate) fn is_assumed(&self, key: &ObjectKey) -> bool {
        self.placed.get(key).is_some_and(|placed| placed.assumed)
    }

    /// The node that a gone pod was on.
    pub(crate) fn remove_pod(&mut self, key: &ObjectKey) -> Option<Sym> {
        let placed = self.placed.remove(key)?;
        match self.by_name.get(&placed.node).and_then(|at| self.nodes.get_mut(*at)) {
            Some(node) => node.give_back(&placed.pod),
            None => {
                if let Some(keys) = self.waiting.get_mut(&placed.node) {
                    keys.retain(|waiting| waiting != key);
                }
            }
        }
        Some(placed.node)
    }

    fn place(&mut self, pod: Arc<Pod>, name: Sym, assumed: bool) {
        match self.by_name.get(&name).and_then(|at| self.nodes.get_mut(*at)) {
            Some(node) => node.take(&pod),
            None => self.waiting.entry(name).or_default().push(pod.key.clone()),
        }
        self.placed.insert(
            pod.key.clone(),
            Placed {
                pod,
                node: name,
                assumed,
            },
        );
    }
}
