//! NodeAffinity: the node selector and required node affinity, and how many preferred terms a node meets.

use super::{Events, Plugin, Verdict, stretch};
use crate::model::{Node, Pod};

pub(crate) struct Affinity;

impl Plugin for Affinity {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_LABELS)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        let selected = pod.selector.iter().all(|(key, value)| node.label(*key) == Some(*value));
        let meets = pod
            .required
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(node)));
        if selected && meets {
            return Verdict::Fits;
        }
        Verdict::never("node(s) didn't match Pod's node affinity/selector")
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &Pod, node: &Node) -> i64 {
        pod.preferred
            .iter()
            .filter(|(_, term)| term.matches(node))
            .map(|(weight, _)| i64::from(*weight))
            .sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, false);
    }
}
