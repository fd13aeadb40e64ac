//! One decision: which node a pod goes to, or why it can't go anywhere. Pure, but for a seeded choice among equals.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::cache::Cache;
use crate::intern::Sym;
use crate::model::{Node, Pod};
use crate::plugins::{ALL, Verdict};

/// Below this many nodes all are looked at.
const ALL_BELOW: usize = 100;

/// The outcome.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Node(Sym),
    /// No node fits: what users are told, and which plug-ins (by their place in the list) rejected it.
    None {
        message: String,
        rejected_by: u32,
    },
}

/// What stays between decisions: where the round over the nodes stands, and the seed.
#[derive(Debug)]
pub(crate) struct Rotation {
    start: usize,
    seed: u64,
}

#[derive(Default)]
struct Diagnosis {
    reasons: BTreeMap<Cow<'static, str>, usize>,
    rejected_by: u32,
    final_nodes: usize,
}

// === impl Rotation ===

impl Rotation {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            start: 0,
            seed: seed | 1,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }
}

/// Decides for one pod.
pub(crate) fn decide(pod: &Pod, cache: &Cache, rotation: &mut Rotation) -> Decision {
    let mut diagnosis = Diagnosis::default();
    let enough = enough(cache.nodes.len());
    let mut fitting: Vec<&Node> = Vec::with_capacity(enough.min(cache.nodes.len()));
    let (before, after) = cache.nodes.split_at(rotation.start.min(cache.nodes.len()));
    let mut seen = 0;
    for node in after.iter().chain(before) {
        if fitting.len() >= enough {
            break;
        }
        seen += 1;
        if diagnosis.admits(pod, node) {
            fitting.push(node);
        }
    }
    rotation.start = (rotation.start + seen) % cache.nodes.len().max(1);
    match fitting.as_slice() {
        [] => Decision::None {
            message: diagnosis.message(pod, cache.nodes.len()),
            rejected_by: diagnosis.rejected_by,
        },
        [only] => Decision::Node(only.name),
        _ => Decision::Node(best(pod, &fitting, rotation)),
    }
}

/// Whether the pod fits one node now.
pub(crate) fn fits(pod: &Pod, node: &Node) -> bool {
    ALL.iter().all(|plugin| plugin.filter(pod, node) == Verdict::Fits)
}

/// How many fitting nodes are enough to choose from: all of a small cluster, a falling share (down to 5%) of a large one.
fn enough(nodes: usize) -> usize {
    if nodes < ALL_BELOW {
        return nodes.max(1);
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(ALL_BELOW)
}

fn best(pod: &Pod, nodes: &[&Node], rotation: &mut Rotation) -> Sym {
    let mut totals = vec![0i64; nodes.len()];
    let mut scores = vec![0i64; nodes.len()];
    for plugin in ALL.iter().filter(|plugin| plugin.weight() > 0) {
        for (score, node) in scores.iter_mut().zip(nodes) {
            *score = plugin.score(pod, node);
        }
        plugin.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += plugin.weight() * score;
        }
    }
    let (mut at, mut equals) = (0, 0);
    let most = totals.iter().copied().max().unwrap_or(0);
    for (index, _) in totals.iter().enumerate().filter(|(_, total)| **total == most) {
        equals += 1;
        if rotation.random(equals) == 0 {
            at = index;
        }
    }
    nodes[at].name
}

// === impl Diagnosis ===

impl Diagnosis {
    /// Whether the node fits; else its reasons are noted.
    fn admits(&mut self, pod: &Pod, node: &Node) -> bool {
        for (index, plugin) in ALL.iter().enumerate() {
            if let Verdict::Not { reasons, final_ } = plugin.filter(pod, node) {
                self.rejected_by |= 1 << index;
                self.final_nodes += usize::from(final_);
                for reason in reasons {
                    *self.reasons.entry(reason).or_insert(0) += 1;
                }
                return false;
            }
        }
        true
    }

    fn message(&self, pod: &Pod, nodes: usize) -> String {
        if nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let counted = |counts: &mut dyn Iterator<Item = (&str, usize)>| {
            let mut parts: Vec<_> = counts.map(|(reason, count)| format!("{count} {reason}")).collect();
            parts.sort_unstable();
            format!("0/{nodes} nodes are available: {}.", parts.join(", "))
        };
        let filters = counted(&mut self.reasons.iter().map(|(reason, count)| (reason.as_ref(), *count)));
        if !pod.may_preempt {
            return format!("{filters} preemption: not eligible due to preemptionPolicy=Never.");
        }
        let preemption = [
            ("Preemption is not helpful for scheduling", self.final_nodes),
            ("No preemption victims found for incoming pod", nodes - self.final_nodes),
        ];
        let preemption = counted(&mut preemption.into_iter().filter(|(_, count)| *count > 0));
        format!("{filters} preemption: {preemption}")
    }
}

#[cfg(test)]
mod tests;
