//! NodeResourcesFit: what the pod requests is free; the node with the most left is liked most.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Events, Plugin, Verdict};
use crate::model::{Node, Pod};

pub(crate) struct Fit;

impl Plugin for Fit {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_CAPACITY).or(Events::POD_GONE)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        let (wants, has, used) = (&pod.requests, &node.spec.allocatable, &node.used);
        let mut reasons: SmallVec<[Cow<'static, str>; 1]> = SmallVec::new();
        let mut final_ = false;
        if node.pods + 1 > node.spec.max_pods {
            reasons.push("Too many pods".into());
        }
        let amounts = [
            ("Insufficient cpu", wants.cpu, has.cpu, used.cpu),
            ("Insufficient memory", wants.memory, has.memory, used.memory),
            (
                "Insufficient ephemeral-storage",
                wants.ephemeral,
                has.ephemeral,
                used.ephemeral,
            ),
        ];
        for (reason, wants, has, used) in amounts {
            if wants > 0 && wants > has - used {
                reasons.push(reason.into());
                final_ |= wants > has;
            }
        }
        for (name, wants) in &wants.extended {
            if *wants > 0 && *wants > has.extended(*name) - used.extended(*name) {
                reasons.push(format!("Insufficient {}", name.text()).into());
                final_ |= *wants > has.extended(*name);
            }
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
