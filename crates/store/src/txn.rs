//! Transactions: what must hold, and what is then done at one revision.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use meta::Revision;

use crate::{Error, Key, Record};

/// At most so many operations, and so many comparisons, in a transaction.
pub const MAX_OPS: usize = 128;
/// At most so many bytes of keys and values in a transaction.
pub const MAX_TXN_BYTES: usize = 1536 * 1024;
/// At most so many bytes in a key.
pub const MAX_KEY_BYTES: usize = 4096;

/// All or nothing: when every comparison holds, every operation is done, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is then done, in this order; no key may appear twice.
    pub ops: Vec<Op>,
}

/// A key must have been written last by exactly this revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Key,
    /// The revision that its record must have; `Revision(0)`: there must be no record.
    pub revision: Revision,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a value.
    Put {
        /// The key.
        key: Key,
        /// The whole new value.
        value: Bytes,
        /// The record deletes itself when this has passed without another put, at most a minute later. A put without
        /// a ttl takes an earlier one away.
        ttl: Option<Duration>,
    },
    /// Removes a record; nothing happens when there is none.
    Delete {
        /// The key.
        key: Key,
    },
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done {
        /// The revision of the changes; when nothing was to change, the newest one.
        revision: Revision,
    },
    /// A comparison did not hold, and nothing was done.
    Conflict {
        /// The revision at which it was looked.
        revision: Revision,
        /// What the compared keys have, in the order of the comparisons.
        current: Vec<Option<Record>>,
    },
}

impl Txn {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// The record of `key` must be the one that `revision` wrote.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Key>, revision: Revision) -> Self {
        self.compares.push(Compare {
            key: key.into(),
            revision,
        });
        self
    }

    /// There must be no record of `key`.
    #[must_use]
    pub fn expect_absent(self, key: impl Into<Key>) -> Self {
        self.expect(key, Revision(0))
    }

    /// Writes `value`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put {
            key: key.into(),
            value: value.into(),
            ttl: None,
        });
        self
    }

    /// Writes `value`, to be gone after `ttl`.
    #[must_use]
    pub fn put_for(mut self, key: impl Into<Key>, value: impl Into<Bytes>, ttl: Duration) -> Self {
        self.ops.push(Op::Put {
            key: key.into(),
            value: value.into(),
            ttl: Some(ttl),
        });
        self
    }

    /// Removes `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// Whether a store may take it at all; every implementation asks this first.
    pub fn check(&self) -> Result<(), Error> {
        for (what, size) in [("operations", self.ops.len()), ("comparisons", self.compares.len())] {
            if size > MAX_OPS {
                return Err(Error::TooLarge {
                    what,
                    size,
                    limit: MAX_OPS,
                });
            }
        }
        let mut seen = HashSet::new();
        let mut size = 0;
        for op in &self.ops {
            check_key(op.key())?;
            if !seen.insert(op.key()) {
                return Err(Error::Invalid("a transaction names a key twice"));
            }
            size += op.key().len();
            if let Op::Put { value, ttl, .. } = op {
                size += value.len();
                if ttl.is_some_and(|ttl| ttl < Duration::from_secs(1)) {
                    return Err(Error::Invalid("a ttl is at least a second"));
                }
            }
        }
        for compare in &self.compares {
            check_key(&compare.key)?;
        }
        if size > MAX_TXN_BYTES {
            return Err(Error::TooLarge {
                what: "bytes",
                size,
                limit: MAX_TXN_BYTES,
            });
        }
        Ok(())
    }
}

impl Op {
    /// The key that it changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

fn check_key(key: &Key) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::Invalid("a key is empty")),
        size if size > MAX_KEY_BYTES => Err(Error::TooLarge {
            what: "bytes in a key",
            size,
            limit: MAX_KEY_BYTES,
        }),
        _ => Ok(()),
    }
}
