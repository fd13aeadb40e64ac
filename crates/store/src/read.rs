//! What is asked of the store, and what a read gives back.

use bytes::Bytes;
use meta::Revision;

use crate::Key;

/// One key with its value, as some revision left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The value: opaque bytes, shared.
    pub value: Bytes,
    /// The revision that wrote this value.
    pub revision: Revision,
}

/// The answer to a `get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The revision that was looked at: the one asked for, or the newest.
    pub revision: Revision,
    /// The record; `None` is certain absence at that revision.
    pub record: Option<Record>,
}

/// A question for all keys with a prefix, page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// What the keys begin with.
    pub prefix: String,
    /// Only keys after this one: the last key of the page before.
    pub after: Option<Key>,
    /// At most so many records; 0 is all.
    pub limit: usize,
    /// The revision to look at; `None` is the newest. The pages after the first name the first one's revision.
    pub at: Option<Revision>,
}

impl Range {
    /// All keys with a prefix, now.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// The same at a past revision.
    #[must_use]
    pub fn at(self, revision: Revision) -> Self {
        Self {
            at: Some(revision),
            ..self
        }
    }

    /// The same with at most `limit` records a page.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The same from the key after `key` on.
    #[must_use]
    pub fn after(self, key: Key) -> Self {
        Self {
            after: Some(key),
            ..self
        }
    }
}

/// The answer to a `range`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The revision that was looked at: the one asked for, or the newest. No record is newer.
    pub revision: Revision,
    /// The records, ordered by key.
    pub records: Vec<Record>,
    /// How many records the range has from `after` on, those beyond the limit among them.
    pub count: u64,
}

impl Page {
    /// Whether the limit cut something off.
    pub fn more(&self) -> bool {
        self.count > self.records.len() as u64
    }
}
