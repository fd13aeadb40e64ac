//! TaintToleration: taints keep pods away that do not tolerate them, or make a node less liked.

use super::{Events, Plugin, Verdict, stretch};
use crate::model::{Effect, Node, Pod};

pub(crate) struct Taints;

impl Plugin for Taints {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        let mut hard = node
            .spec
            .taints
            .iter()
            .filter(|taint| taint.effect != Effect::PreferNoSchedule);
        if hard.all(|taint| pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))) {
            return Verdict::Fits;
        }
        Verdict::never("node(s) had untolerated taint(s)")
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
