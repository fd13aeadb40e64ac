//! TaintToleration: taints keep pods away that do not tolerate them, or make a node less liked.

use super::{Events, Plugin, Verdict, stretch};
use crate::model::{Effect, Node, Pod};

pub(crate) struct Taints;

impl Plugin for Taints {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        if Self::untolerated(pod, node, |effect| effect != Effect::PreferNoSchedule) {
            return Verdict::never(Self::REASON);
        }
        Verdict::Fits
    }

    fn weight(&self) -> i64 {
        3
    }

    fn score(&self, pod: &Pod, node: &Node) -> i64 {
        let soft = node
            .spec
            .taints
            .iter()
            .filter(|taint| taint.effect == Effect::PreferNoSchedule);
        soft.filter(|taint| !pod.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
            .count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, true);
    }
}

impl Taints {
    pub(crate) const REASON: &str = "node(s) had untolerated taint(s)";

    /// Whether the node has a taint of such an effect that the pod does not tolerate.
    pub(crate) fn untolerated(pod: &Pod, node: &Node, counts: impl Fn(Effect) -> bool) -> bool {
        let mut taints = node.spec.taints.iter().filter(|taint| counts(taint.effect));
        taints.any(|taint| !pod.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
    }
}
