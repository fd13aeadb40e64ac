//! Spreads the pods of one controller over nodes: the fewer of them a node has, the more it is liked.

use super::{Plugin, stretch};
use crate::model::{Node, Pod};

pub(crate) struct Spread;

impl Plugin for Spread {
    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &Pod, node: &Node) -> i64 {
        pod.owner
            .and_then(|owner| node.owners.get(&owner))
            .map_or(0, |count| i64::from(*count))
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, true);
    }
}
