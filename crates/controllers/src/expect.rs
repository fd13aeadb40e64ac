//! What a controller has done and its watch does not show yet.
//!
//! Without this, a controller that looks again right after it created pods would create them twice. Creations are
//! awaited by name (names are made here, before the request), deletions by uid. Pure bookkeeping behind one lock.

use std::time::Duration;

use client::{Change, ObjectKey};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::world::Pod;

/// After this time something was missed: look at the world as it is.
const PATIENCE: Duration = Duration::from_secs(300);
/// What names end in: no vowels and nothing that is easily confused, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<ObjectKey, Awaited>>);

struct Awaited {
    created: HashSet<ObjectKey>,
    deleted: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Whether all that was done for `owner` has been seen.
    pub(crate) fn met(&self, owner: &ObjectKey) -> bool {
        let mut all = self.0.lock();
        let Some(awaited) = all.get(owner) else { return true };
        let met = awaited.created.is_empty() && awaited.deleted.is_empty() || awaited.since.elapsed() > PATIENCE;
        if met {
            all.remove(owner);
        }
        met
    }

    pub(crate) fn will_create(&self, owner: &ObjectKey, pod: &ObjectKey) {
        self.0
            .lock()
            .entry(owner.clone())
            .or_insert_with(Awaited::new)
            .created
            .insert(pod.clone());
    }

    pub(crate) fn will_delete(&self, owner: &ObjectKey, uid: &str) {
        self.0
            .lock()
            .entry(owner.clone())
            .or_insert_with(Awaited::new)
            .deleted
            .insert(uid.to_owned());
    }

    /// A creation was refused: nothing will be seen of it.
    pub(crate) fn not_created(&self, owner: &ObjectKey, pod: &ObjectKey) {
        if let Some(awaited) = self.0.lock().get_mut(owner) {
            awaited.created.remove(pod);
        }
    }

    pub(crate) fn not_deleted(&self, owner: &ObjectKey, uid: &str) {
        if let Some(awaited) = self.0.lock().get_mut(owner) {
            awaited.deleted.remove(uid);
        }
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.0.lock().remove(owner);
    }

    /// Takes note of a change of a pod of `owner`.
    pub(crate) fn seen(&self, owner: &ObjectKey, change: &Change<Pod>) {
        let mut all = self.0.lock();
        let Some(awaited) = all.get_mut(owner) else { return };
        awaited.created.remove(&change.key);
        if let Some(before) = &change.before
            && change
                .after
                .as_ref()
                .is_none_or(|after| after.deleting || after.uid != before.uid)
        {
            awaited.deleted.remove(&before.uid);
        }
        if let Some(after) = change.after.as_ref().filter(|after| after.deleting) {
            awaited.deleted.remove(&after.uid);
        }
    }
}

impl Awaited {
    fn new() -> Self {
        Self {
            created: HashSet::new(),
            deleted: HashSet::new(),
            since: Instant::now(),
        }
    }
}

/// A name that begins with `base` (cut where it would grow too long) and ends in five random characters.
pub(crate) fn random_name(base: &str) -> String {
    let tail = (0..5).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
    let mut name: String = base.chars().take(58).collect();
    name.extend(tail);
    name
}
