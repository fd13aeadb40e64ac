//! What is left in a namespace that is being deleted, as conditions. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::world::Condition;

/// What a sweep over a namespace found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// Resources (`pods.`, `deployments.apps`) that could not be swept, with the error.
    pub(crate) errors: Vec<String>,
    /// How many objects of each resource are left.
    pub(crate) left: BTreeMap<String, usize>,
    /// How many objects wait for each finalizer.
    pub(crate) finalizers: BTreeMap<String, usize>,
    /// The resources could not be discovered.
    pub(crate) undiscovered: Option<String>,
}

impl Sweep {
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.left.is_empty() && self.undiscovered.is_none()
    }
}

/// The conditions after a sweep: each of the five is there, and its time changes only with its status.
pub(crate) fn conditions(known: &[Condition], sweep: &Sweep, now: Timestamp) -> Vec<Condition> {
    let counted = |counts: &BTreeMap<String, usize>, unit: &str| {
        let parts = counts
            .iter()
            .map(|(name, count)| format!("{name} has {count} resource {unit}"));
        parts.collect::<Vec<_>>().join(", ")
    };
    let row = |kind, bad: Option<(&str, String)>, good: (&str, &str)| match bad {
        Some((reason, message)) => Condition::new(kind, true, reason, message, now),
        None => Condition::new(kind, false, good.0, good.1, now),
    };
    let errors = (!sweep.errors.is_empty()).then(|| {
        let message = format!(
            "Failed to delete all resource types, {} remaining: {}",
            sweep.errors.len(),
            sweep.errors.join(", ")
        );
        ("ContentDeletionFailed", message)
    });
    let left = (!sweep.left.is_empty()).then(|| {
        (
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", counted(&sweep.left, "instances")),
        )
    });
    let waits = (!sweep.finalizers.is_empty()).then(|| {
        let parts = sweep
            .finalizers
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"));
        let message = format!(
            "Some content in the namespace has finalizers remaining: {}",
            parts.collect::<Vec<_>>().join(", ")
        );
        ("SomeFinalizersRemain", message)
    });
    let undiscovered = sweep.undiscovered.clone().map(|error| ("DiscoveryFailed", error));
    let parsed = ("ParsedGroupVersions", "All legacy kube types successfully parsed");
    let rows = [
        row(
            "NamespaceDeletionDiscoveryFailure",
            undiscovered,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        row("NamespaceDeletionGroupVersionParsingFailure", None, parsed),
        row(
            "NamespaceDeletionContentFailure",
            errors,
            (
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        row(
            "NamespaceContentRemaining",
            left,
            ("ContentRemoved", "All content successfully removed"),
        ),
        row(
            "NamespaceFinalizersRemaining",
            waits,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    rows.into_iter()
        .map(|mut condition| {
            condition.updated = None;
            if let Some(known) =
                Condition::find(known, &condition.kind).filter(|known| known.status == condition.status)
            {
                condition.changed = known.changed;
            }
            condition
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn what_is_left_is_told() {
        let sweep = Sweep {
            left: BTreeMap::from([("pods.".to_owned(), 2)]),
            finalizers: BTreeMap::from([("example.com/x".to_owned(), 1)]),
            ..Sweep::default()
        };
        assert!(!sweep.is_clean());
        let rows = conditions(&[], &sweep, at(0));
        let told = |kind| {
            Condition::find(&rows, kind)
                .map(|row| (row.status.as_str(), row.message.as_str()))
                .unwrap()
        };
        assert_eq!(
            told("NamespaceContentRemaining"),
            ("True", "Some resources are remaining: pods. has 2 resource instances")
        );
        assert_eq!(
            told("NamespaceFinalizersRemaining"),
            (
                "True",
                "Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances"
            )
        );
        assert_eq!(told("NamespaceDeletionContentFailure").0, "False");
        let later = conditions(&rows, &sweep, at(60));
        assert_eq!(later, rows);
    }
}
