//! Who owns whom, over all objects of the cluster, and what follows from it. Pure: it is fed and asked.

use std::sync::Arc;

use client::ObjectKey;
use hashbrown::{HashMap, HashSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::write::Kind;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// One object's metadata, as far as ownership is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) kind: Arc<Kind>,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) version: String,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) deleting: bool,
}

#[derive(Default)]
pub(crate) struct Graph {
    rows: HashMap<String, Arc<Row>>,
    /// By the owner's uid.
    dependents: HashMap<String, HashSet<String>>,
}

/// What to do about one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Nothing,
    /// Its deletion waits for dependents: these are to be deleted; the others to be waited for.
    DeleteDependents(Vec<Arc<Row>>),
    /// Its dependents are to lose it as owner, then the finalizer goes.
    Orphan(Vec<Arc<Row>>),
    /// Nothing holds it any more.
    RemoveFinalizer(&'static str),
    /// Owners are to be looked up, since the graph does not have them.
    Verify(Vec<OwnerReference>),
    /// Owners that are gone or going are to be taken off; others remain.
    Disown(Vec<String>),
    /// No owner is left.
    Delete {
        policy: &'static str,
        /// It is part of a circle of owners that wait for each other: it must not hold its own up.
        unblock: bool,
    },
}

// === impl Row ===

impl Row {
    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| known == finalizer)
    }

    /// It waits for its dependents.
    fn is_waiting(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }

    fn blocks(&self, owner: &str) -> bool {
        self.owners
            .iter()
            .any(|known| known.uid == owner && known.block_owner_deletion == Some(true))
    }
}

// === impl Graph ===

impl Graph {
    /// Takes a change in, and says which objects are to be looked at.
    pub(crate) fn change(&mut self, before: Option<&Arc<Row>>, after: Option<&Arc<Row>>) -> Vec<String> {
        let mut look = Vec::new();
        if let Some(row) = before {
            self.unlink(row);
            if after.is_none_or(|after| after.uid != row.uid) {
                // The owner is gone: its dependents may go; an owner that waits for this one may go on.
                look.extend(self.dependents.get(&row.uid).into_iter().flatten().cloned());
            }
            look.extend(
                row.owners
                    .iter()
                    .map(|owner| owner.uid.clone())
                    .filter(|owner| self.waits(owner)),
            );
        }
        if let Some(row) = after {
            self.link(row);
            if !row.owners.is_empty() || row.deleting {
                look.push(row.uid.clone());
            }
            look.extend(
                row.owners
                    .iter()
                    .map(|owner| owner.uid.clone())
                    .filter(|owner| self.waits(owner)),
            );
            if row.is_waiting() {
                look.extend(self.dependents.get(&row.uid).into_iter().flatten().cloned());
            }
        }
        look
    }

    fn waits(&self, uid: &str) -> bool {
        self.rows.get(uid).is_some_and(|row| row.deleting)
    }

    fn link(&mut self, row: &Arc<Row>) {
        for owner in &row.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(row.uid.clone());
        }
        self.rows.insert(row.uid.clone(), row.clone());
    }

    fn unlink(&mut self, row: &Row) {
        for owner in &row.owners {
            if let Some(all) = self.dependents.get_mut(&owner.uid) {
                all.remove(&row.uid);
                if all.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        self.rows.remove(&row.uid);
    }

    pub(crate) fn row(&self, uid: &str) -> Option<Arc<Row>> {
        self.rows.get(uid).cloned()
    }

    fn dependents(&self, uid: &str) -> Vec<Arc<Row>> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.rows.get(uid).cloned()).collect()
    }

    /// What to do about an object; `absent` are owners that were looked up and are not there.
    pub(crate) fn plan(&self, row: &Row, absent: &HashSet<String>) -> Step {
        if row.deleting {
            return self.plan_deleting(row);
        }
        if row.owners.is_empty() {
            return Step::Nothing;
        }
        let (mut solid, mut gone, mut waiting, mut unknown) = (0, Vec::new(), Vec::new(), Vec::new());
        for owner in &row.owners {
            match self.rows.get(&owner.uid) {
                _ if absent.contains(&owner.uid) => gone.push(owner.uid.clone()),
                Some(found) if !may_own(found, owner, row) => gone.push(owner.uid.clone()),
                Some(found) if found.is_waiting() && owner.block_owner_deletion == Some(true) => {
                    waiting.push(owner.uid.clone());
                }
                Some(found) if found.is_waiting() => waiting.push(owner.uid.clone()),
                Some(_) => solid += 1,
                None => unknown.push(owner.clone()),
            }
        }
        if !unknown.is_empty() {
            return Step::Verify(unknown);
        }
        if solid > 0 {
            gone.append(&mut waiting);
            return if gone.is_empty() {
                Step::Nothing
            } else {
                Step::Disown(gone)
            };
        }
        let dependents = self.dependents(&row.uid);
        let foreground = !waiting.is_empty() && !dependents.is_empty();
        let unblock = foreground && dependents.iter().any(|dependent| dependent.is_waiting());
        let policy = match () {
            () if foreground || row.has(FOREGROUND) => "Foreground",
            () if row.has(ORPHAN) => "Orphan",
            () => "Background",
        };
        Step::Delete { policy, unblock }
    }

    fn plan_deleting(&self, row: &Row) -> Step {
        let dependents = self.dependents(&row.uid);
        if row.has(ORPHAN) {
            return if dependents.is_empty() {
                Step::RemoveFinalizer(ORPHAN)
            } else {
                Step::Orphan(dependents)
            };
        }
        if !row.has(FOREGROUND) {
            return Step::Nothing;
        }
        if !dependents.iter().any(|dependent| dependent.blocks(&row.uid)) {
            return Step::RemoveFinalizer(FOREGROUND);
        }
        // Each is decided about on its own: it may have other owners.
        Step::DeleteDependents(dependents.into_iter().filter(|dependent| !dependent.deleting).collect())
    }
}

/// An owner in another namespace owns nothing.
fn may_own(owner: &Row, reference: &OwnerReference, row: &Row) -> bool {
    owner.key.name == reference.name && (owner.key.namespace.is_none() || owner.key.namespace == row.key.namespace)
}
