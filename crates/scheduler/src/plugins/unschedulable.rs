//! NodeUnschedulable: a cordoned node takes only pods that tolerate being cordoned.

use super::{Events, Plugin, Verdict};
use crate::intern::Sym;
use crate::model::{Effect, Node, Pod, Taint};

pub(crate) struct Unschedulable;

impl Plugin for Unschedulable {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        if !node.spec.unschedulable {
            return Verdict::Fits;
        }
        let key = Sym::of("node.kubernetes.io/unschedulable");
        let taint = Taint {
            key,
            value: Sym::of(""),
            effect: Effect::NoSchedule,
        };
        if pod.tolerations.iter().any(|toleration| toleration.tolerates(&taint)) {
            return Verdict::Fits;
        }
        Verdict::never("node(s) were unschedulable")
    }
}
