//! The fields that a write to one endpoint can't change, and that its writer therefore never comes to own: the status in
//! a write of the object, all but the status in a write of the status.

use crate::merge::fields::{Element, FieldSet};

/// The fields that an endpoint resets.
#[derive(Clone, Debug, Default)]
pub enum ResetFields {
    /// None: everything that is written counts.
    #[default]
    Nothing,
    /// These and all below them.
    These(FieldSet),
    /// All but what matches one of these patterns or is below it.
    AllBut(Vec<Vec<Step>>),
}

/// One step of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The field of this name.
    Field(String),
    /// Every field, entry or item.
    Any,
}

// === impl ResetFields ===

impl ResetFields {
    /// Resets these fields, each a path such as `metadata.labels`.
    pub fn these(paths: &[&str]) -> Self {
        let mut set = FieldSet::new();
        for path in paths {
            set.insert(path.split('.').map(Element::field));
        }
        Self::These(set)
    }

    /// Resets all but these fields, each a path such as `spec.containers.*.resources`.
    pub fn all_but(paths: &[&str]) -> Self {
        let step = |name: &str| {
            if name == "*" {
                Step::Any
            } else {
                Step::Field(name.into())
            }
        };
        Self::AllBut(paths.iter().map(|path| path.split('.').map(step).collect()).collect())
    }

    /// The set without the fields that are reset.
    pub(super) fn filter(&self, set: FieldSet) -> FieldSet {
        match self {
            Self::Nothing => set,
            Self::These(fields) => set.difference_below(fields),
            Self::AllBut(patterns) => {
                let patterns: Vec<&[Step]> = patterns.iter().map(Vec::as_slice).collect();
                matching(&set, &patterns)
            }
        }
    }
}

/// The paths that begin with a match of a pattern, and those that lead to one.
fn matching(set: &FieldSet, patterns: &[&[Step]]) -> FieldSet {
    if patterns.iter().any(|pattern| pattern.is_empty()) {
        return set.clone();
    }
    let mut out = FieldSet::new();
    for node in set.nodes() {
        let rest: Vec<&[Step]> = patterns
            .iter()
            .filter_map(|pattern| pattern.split_first())
            .filter(|(step, _)| match (step, &node.element) {
                (Step::Any, _) => true,
                (Step::Field(name), Element::Field(field)) => field == name,
                _ => false,
            })
            .map(|(_, rest)| rest)
            .collect();
        if !rest.is_empty() {
            out.push_node(&node.element, node.member, matching(&node.children, &rest));
        }
    }
    out
}
