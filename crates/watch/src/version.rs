//! One version of one object.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use compact_str::CompactString;
use meta::Revision;
use store::Key;

use crate::Slot;
use crate::encodings::{Budget, Slots};

/// What selectors look at, taken out of a version's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// The object's labels, in any order.
    pub labels: Box<[(CompactString, CompactString)]>,
    /// The fields that a field selector may name, with their values.
    pub fields: Box<[(CompactString, CompactString)]>,
}

impl Projection {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        find(&self.labels, key)
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }
}

fn find<'a>(pairs: &'a [(CompactString, CompactString)], key: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(other, _)| other == key)
        .map(|(_, value)| value.as_str())
}

/// Takes the projection out of a version's key and bytes. Called at most once a version, and only when a selector
/// wants to look.
pub type Projector = Arc<dyn Fn(&Key, &[u8]) -> Projection + Send + Sync>;

/// What all versions of a cache share.
pub(crate) struct Shared {
    pub(crate) project: Projector,
    pub(crate) budget: Arc<Budget>,
}

/// One version of one object, as some revision wrote it: never changed, shared by lists, events and watchers.
pub struct Version {
    key: Key,
    revision: Revision,
    bytes: Bytes,
    shared: Arc<Shared>,
    projection: OnceLock<Box<Projection>>,
    encodings: Slots,
}

impl Version {
    pub(crate) fn new(key: Key, revision: Revision, bytes: Bytes, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            key,
            revision,
            bytes,
            shared,
            projection: OnceLock::new(),
            encodings: Slots::default(),
        })
    }

    /// The object's key in the store.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The revision that wrote it: its `resourceVersion`.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The bytes as they were stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What selectors look at.
    pub fn projection(&self) -> &Projection {
        self.projection
            .get_or_init(|| Box::new((self.shared.project)(&self.key, &self.bytes)))
    }

    /// The object in some wire format: made by `make` the first time, then shared for as long as the version lives and
    /// the hub's room for encodings lasts. For formats that cost more than a copy; use [`crate::Delivery::encoded`]
    /// for what is sent to watchers.
    pub fn encoded<E>(self: &Arc<Self>, slot: Slot, make: impl FnOnce(&Self) -> Result<Bytes, E>) -> Result<Bytes, E> {
        let (bytes, made) = self.encodings.get_or_make(slot.0.into(), || make(self))?;
        if made > 0 {
            self.shared.budget.add(Arc::downgrade(self), made);
        }
        Ok(bytes)
    }

    pub(crate) fn forget_encodings(&self) -> usize {
        self.encodings.clear()
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        let size = self.encodings.size();
        if size > 0 {
            self.shared.budget.give_back(size);
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("key", &self.key)
            .field("revision", &self.revision.0)
            .finish_non_exhaustive()
    }
}
