//! The plug-ins: each sees one pod and one node, says whether they fit and how well, and which events may help.
//!
//! A plug-in is one file. It is pure; it never asks the API and keeps nothing between calls.

mod affinity;
mod balance;
mod fit;
mod name;
mod ports;
mod spread;
mod taints;
mod unschedulable;

use std::borrow::Cow;

pub(crate) use affinity::Affinity;
pub(crate) use fit::Fit;
pub(crate) use name::Name;
pub(crate) use ports::Ports;
pub(crate) use taints::Taints;

use smallvec::SmallVec;

use crate::model::{Node, Pod};

/// The kinds of change after which a rejected pod may fit, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Events(pub(crate) u8);

/// Whether a pod fits a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    /// It does not, for these reasons; `final_` when no removal of other pods would help.
    Not {
        reasons: SmallVec<[Cow<'static, str>; 1]>,
        final_: bool,
    },
}

/// One aspect of placing pods.
pub(crate) trait Plugin: Send + Sync {
    /// What may help a pod that this plug-in rejected.
    fn helped_by(&self) -> Events {
        Events::NONE
    }

    /// Whether the pod may be on the node.
    fn filter(&self, _pod: &Pod, _node: &Node) -> Verdict {
        Verdict::Fits
    }

    /// What its score counts; none for plug-ins that only filter.
    fn weight(&self) -> i64 {
        0
    }

    /// How good the node is for the pod, in any unit that [`Plugin::normalize`] understands.
    fn score(&self, _pod: &Pod, _node: &Node) -> i64 {
        0
    }

    /// Turns the scores of all nodes that fit into 0..=100.
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// All plug-ins, in the order in which filters run: the first one that rejects names the reasons.
pub(crate) const ALL: [&dyn Plugin; 8] = [
    &unschedulable::Unschedulable,
    &Name,
    &Taints,
    &Affinity,
    &Ports,
    &Fit,
    &balance::Balance,
    &spread::Spread,
];

// === impl Events ===

impl Events {
    pub(crate) const NONE: Events = Events(0);
    pub(crate) const NODE_ADDED: Events = Events(1);
    pub(crate) const NODE_CAPACITY: Events = Events(2);
    pub(crate) const NODE_LABELS: Events = Events(4);
    pub(crate) const NODE_TAINTS: Events = Events(8);
    pub(crate) const POD_GONE: Events = Events(16);

    pub(crate) const fn or(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }

    pub(crate) fn meets(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }
}

// === impl Verdict ===

impl Verdict {
    /// Rejected, and no other pod's removal would change that.
    pub(crate) fn never(reason: &'static str) -> Self {
        Verdict::Not {
            reasons: SmallVec::from_iter([Cow::Borrowed(reason)]),
            final_: true,
        }
    }

    /// Rejected for what other pods have.
    pub(crate) fn taken(reason: &'static str) -> Self {
        Verdict::Not {
            reasons: SmallVec::from_iter([Cow::Borrowed(reason)]),
            final_: false,
        }
    }
}

/// Stretches scores so that the best has 100; `reverse` makes the smallest the best.
fn stretch(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let share = if most == 0 { 0 } else { *score * 100 / most };
        *score = if reverse { 100 - share } else { share };
    }
}
