//! What a write means for everyone else's ownership: who changes a field takes it, who removes one takes it from all.

use std::borrow::Cow;

use serde_json::Value;

use super::managed::{Managed, Manager};
use super::{Conflict, NEVER_OWNED, Target, conflict};
use crate::merge::fields::FieldSet;
use crate::merge::typed::{compare, reconcile};
use crate::schema::TypeId;

/// Why ownership couldn't be settled.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// Somebody else owns what the applier changes.
    Conflicts(Vec<Conflict>),
    /// An object doesn't fit its schema, or a set can't be read.
    Broken(String),
}

impl From<String> for Unsettled {
    fn from(reason: String) -> Self {
        Self::Broken(reason)
    }
}

/// How two objects differ in one version.
struct Seen {
    api_version: String,
    ty: TypeId,
    /// What was modified or added.
    written: FieldSet,
    /// The same and what was removed.
    changed: FieldSet,
}

/// Takes the written and removed fields from all managers but one. Without force, written fields of others are
/// conflicts, and nothing changes. Returns what was written, in the target's version.
pub(super) fn settle(
    target: &Target<'_>,
    (old, new): (&Value, &Value),
    managed: &mut Managed,
    writer: Option<&Manager>,
    force: bool,
) -> Result<FieldSet, Unsettled> {
    let mut seen = vec![see(target, target.api_version, target.ty, old, new)?];
    let mut settled = Vec::new();
    let mut forgotten = Vec::new();
    let mut conflicts = Vec::new();
    if seen[0].changed.is_empty()
        && managed
            .entries
            .iter()
            .all(|entry| entry.manager.api_version == target.api_version)
    {
        managed.drop_empty();
        return Ok(FieldSet::new());
    }
    for (index, entry) in managed.entries.iter_mut().enumerate() {
        if writer.is_some_and(|writer| writer.is(&entry.manager)) {
            continue;
        }
        let Some(view) = view(target, &entry.manager.api_version, (old, new), &mut seen)? else {
            forgotten.push(index);
            continue;
        };
        if !entry.touches(&view.changed) {
            continue;
        }
        let manager = entry.manager.clone();
        let set = reconcile(target.schema, view.ty, entry.set()?);
        if !force {
            for path in set.intersection(&view.written).paths() {
                conflicts.push(Conflict {
                    manager: manager.clone(),
                    path,
                });
            }
        }
        settled.push((index, set.difference(&view.changed)));
    }
    if !force && !conflicts.is_empty() {
        conflict::sort(&mut conflicts);
        return Err(Unsettled::Conflicts(conflicts));
    }
    for (index, set) in settled {
        managed.entries[index].replace(set);
    }
    for index in forgotten.into_iter().rev() {
        managed.entries.remove(index);
    }
    managed.drop_empty();
    Ok(seen.swap_remove(0).written)
}

/// The comparison in a version, made once; `None` when that version is gone.
fn view<'s>(
    target: &Target<'_>,
    api_version: &str,
    (old, new): (&Value, &Value),
    seen: &'s mut Vec<Seen>,
) -> Result<Option<&'s Seen>, String> {
    if let Some(index) = seen.iter().position(|seen| seen.api_version == api_version) {
        return Ok(Some(&seen[index]));
    }
    let (Some((ty, old)), Some((_, new))) = (
        target.versions.at(old, api_version),
        target.versions.at(new, api_version),
    ) else {
        return Ok(None);
    };
    seen.push(see(target, api_version, ty, &old, &new)?);
    Ok(seen.last())
}

fn see(target: &Target<'_>, api_version: &str, ty: TypeId, old: &Value, new: &Value) -> Result<Seen, String> {
    let comparison = compare(target.schema, ty, old, new)
        .map_err(|reason| format!("failed to compare objects: {reason}"))?
        .map(|set| {
            target.reset.filter(if set.is_empty() {
                set
            } else {
                set.difference(&NEVER_OWNED)
            })
        });
    let written = match (comparison.modified.is_empty(), comparison.added.is_empty()) {
        (true, _) => Cow::Borrowed(&comparison.added),
        (_, true) => Cow::Borrowed(&comparison.modified),
        _ => Cow::Owned(comparison.modified.union(&comparison.added)),
    }
    .into_owned();
    let changed = written.union(&comparison.removed);
    Ok(Seen {
        api_version: api_version.into(),
        ty,
        written,
        changed,
    })
}
