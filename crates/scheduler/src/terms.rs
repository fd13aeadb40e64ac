//! Node selector terms: what required and preferred node affinity say, over interned labels.

use smallvec::SmallVec;

use crate::intern::Sym;
use crate::model::Node;

/// All requirements must hold; a term without any matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Term {
    pub(crate) labels: Vec<Requirement>,
    /// Over `metadata.name`, the only field there is.
    pub(crate) names: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) key: Sym,
    pub(crate) operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operator {
    In(SmallVec<[Sym; 2]>),
    NotIn(SmallVec<[Sym; 2]>),
    Exists,
    DoesNotExist,
    Greater(i64),
    Less(i64),
    /// Not understood: matches no node.
    Never,
}

impl Term {
    pub(crate) fn matches(&self, node: &Node) -> bool {
        (!self.labels.is_empty() || !self.names.is_empty())
            && self
                .labels
                .iter()
                .all(|wanted| wanted.operator.holds(node.label(wanted.key)))
            && self.names.iter().all(|wanted| wanted.operator.holds(Some(node.name)))
    }
}

impl Operator {
    fn holds(&self, value: Option<Sym>) -> bool {
        let number = || value.and_then(|value| value.text().parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(&value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(&value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::Greater(bound) => number().is_some_and(|number| number > *bound),
            Self::Less(bound) => number().is_some_and(|number| number < *bound),
            Self::Never => false,
        }
    }
}
