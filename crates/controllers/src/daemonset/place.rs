//! Whether a daemon's pod belongs on a node, by what its template says. Pure.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use crate::nodes::tolerates;
use crate::world::{Node, Places};

/// What a node is to a daemon set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A pod is to run there.
    Wanted,
    /// A pod that runs there may stay; a new one isn't made.
    Suffered,
    Barred,
}

/// Judges a node.
pub(super) fn judge(places: &Places, node: &Node) -> Place {
    let named = places.node.as_ref().is_none_or(|name| *name == node.name);
    let selected = places
        .selector
        .iter()
        .all(|(key, value)| node.labels.get(key) == Some(value));
    let meant = places
        .terms
        .as_ref()
        .is_none_or(|terms| terms.iter().any(|term| matches(term, node)));
    if !named || !selected || !meant {
        return Place::Barred;
    }
    let barring = |effects: &[&str]| {
        let taints = node
            .taints
            .iter()
            .filter(|taint| effects.contains(&taint.effect.as_str()));
        let mut open = taints.filter(|taint| !places.tolerations.iter().any(|toleration| tolerates(toleration, taint)));
        open.next().is_some()
    };
    if !barring(&["NoSchedule", "NoExecute"]) {
        Place::Wanted
    } else if !barring(&["NoExecute"]) {
        Place::Suffered
    } else {
        Place::Barred
    }
}

/// All requirements must hold; a term without any matches nothing.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |wanted: &NodeSelectorRequirement| wanted.key == "metadata.name" && holds(wanted, Some(&node.name));
    (!labels.is_empty() || !fields.is_empty())
        && labels
            .iter()
            .all(|wanted| holds(wanted, node.labels.get(&wanted.key).map(String::as_str)))
        && fields.iter().all(field)
}

fn holds(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let within = |value: &str| values.iter().any(|wanted| wanted == value);
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match wanted.operator.as_str() {
        "In" => value.is_some_and(within),
        "NotIn" => value.is_none_or(|value| !within(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
