//! NodeResourcesFit: what the pod requests is free; the node with the most left is liked most.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Events, Plugin, Verdict};
use crate::model::{Node, Pod};

pub(crate) struct Fit;

const PODS: &str = "pods";

/// A resource of which a node has too little left, and the amounts; cpu in thousandths.
pub(crate) struct Lack {
    pub(crate) resource: &'static str,
    pub(crate) requested: i64,
    pub(crate) used: i64,
    pub(crate) capacity: i64,
}

impl Plugin for Fit {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_CAPACITY).or(Events::POD_GONE)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        let mut reasons: SmallVec<[Cow<'static, str>; 1]> = SmallVec::new();
        let mut final_ = false;
        for lack in Self::lacks(pod, node) {
            reasons.push(lack.reason());
            final_ |= lack.resource != PODS && lack.requested > lack.capacity;
        }
        if reasons.is_empty() {
            Verdict::Fits
        } else {
            Verdict::Not { reasons, final_ }
        }
    }

    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, pod: &Pod, node: &Node) -> i64 {
        let free = |has: i64, taken: i64| {
            if has <= 0 || taken > has {
                0
            } else {
                (has - taken) * 100 / has
            }
        };
        let has = &node.spec.allocatable;
        let cpu = free(has.cpu, node.nominal.0 + pod.nominal.0);
        let memory = free(has.memory, node.nominal.1 + pod.nominal.1);
        (cpu + memory) / 2
    }
}

impl Fit {
    /// What the pod wants and the node can't give: its room for pods, then the well-known resources, then others.
    pub(crate) fn lacks<'a>(pod: &'a Pod, node: &'a Node) -> impl Iterator<Item = Lack> + 'a {
        let (wants, has, used) = (&pod.requests, &node.spec.allocatable, &node.used);
        let known = [
            ("cpu", wants.cpu, used.cpu, has.cpu),
            ("memory", wants.memory, used.memory, has.memory),
            ("ephemeral-storage", wants.ephemeral, used.ephemeral, has.ephemeral),
        ];
        let extended = wants
            .extended
            .iter()
            .map(|(name, wants)| (name.text(), *wants, used.extended(*name), has.extended(*name)));
        let room = (PODS, 1, node.pods, node.spec.max_pods);
        std::iter::once(room)
            .chain(known)
            .chain(extended)
            .filter(|(_, wants, used, has)| *wants > 0 && *wants > has - used)
            .map(|(resource, requested, used, capacity)| Lack {
                resource,
                requested,
                used,
                capacity,
            })
    }
}

impl Lack {
    fn reason(&self) -> Cow<'static, str> {
        match self.resource {
            PODS => "Too many pods".into(),
            "cpu" => "Insufficient cpu".into(),
            "memory" => "Insufficient memory".into(),
            "ephemeral-storage" => "Insufficient ephemeral-storage".into(),
            other => format!("Insufficient {other}").into(),
        }
    }
}
