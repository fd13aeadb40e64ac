//! NodeName: a pod that names its node goes nowhere else. Pods that reach the scheduler name none, but pods that are
//! tried against a node again may.

use super::{Events, Plugin, Verdict};
use crate::model::{Node, Pod};

pub(crate) struct Name;

impl Plugin for Name {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        match pod.node {
            Some(name) if name != node.name => Verdict::never("node(s) didn't match the requested node name"),
            _ => Verdict::Fits,
        }
    }
}
