//! A list: what a cache held at one revision.

use std::sync::Arc;

use meta::Revision;

use crate::scope::Keys;
use crate::shelf::{Place, Shelf};
use crate::{Key, Version};

/// All objects of a scope at one revision. Taking and cloning one copies nothing, whatever its size; it stays as it is
/// for as long as it is held.
#[derive(Clone)]
pub struct Snapshot {
    revision: Revision,
    shelf: Shelf,
    from: Place,
    to: Place,
}

impl Snapshot {
    pub(crate) fn new(revision: Revision, shelf: Shelf, keys: &Keys) -> Self {
        let from = shelf.lower_bound(&keys.text);
        let to = if keys.exact {
            // No key lies between a text and the text with the smallest character behind it.
            shelf.lower_bound(&format!("{}\0", keys.text))
        } else {
            after_prefix(&keys.text).map_or_else(|| shelf.end(), |end| shelf.lower_bound(&end))
        };
        Self {
            revision,
            shelf,
            from,
            to,
        }
    }

    /// The `resourceVersion` of the list: no object is newer, and a watch after it misses nothing.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shelf.distance(self.from, self.to)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.shelf.iter_from(self.from).take(self.len())
    }

    /// The objects after a key: for the next page.
    #[must_use]
    pub fn after(self, key: &Key) -> Self {
        let from = self.shelf.lower_bound(&format!("{key}\0")).max(self.from);
        Self {
            from: from.min(self.to),
            ..self
        }
    }

    /// One of the objects.
    pub fn get(&self, key: &str) -> Option<&Arc<Version>> {
        let place = self.shelf.lower_bound(key);
        let inside = place >= self.from && place < self.to;
        self.shelf.get(key).filter(|_| inside)
    }
}

/// The smallest text that is after everything with the prefix.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Skips what is no character; the order of characters is that of their bytes.
        let next = (last as u32 + 1..=last as u32 + 0x801).find_map(char::from_u32);
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}
