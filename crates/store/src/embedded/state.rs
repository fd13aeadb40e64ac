//! The state in memory: the newest record of every key, and which older versions can still be read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use meta::Revision;

use super::files::Files;
use super::format::{Effect, Kept, Write};
use crate::{Error, Key, Record};

/// The newest record of a key.
pub(crate) struct Newest {
    pub(crate) revision: Revision,
    pub(crate) value: Bytes,
    /// Milliseconds since 1970; 0: never.
    pub(crate) expires: u64,
}

/// An older version of a key: its value is on the disk, found by its revision.
struct Past {
    revision: Revision,
    /// `false`: the key was deleted by that revision.
    there: bool,
}

/// Everything that reads look at. Only the writer changes it, and only after what it applies is durable.
pub(crate) struct State {
    pub(crate) revision: Revision,
    /// The oldest revision that can be read.
    pub(crate) compacted: Revision,
    newest: BTreeMap<Key, Newest>,
    /// The older versions of those keys that have some, oldest first.
    past: BTreeMap<Key, VecDeque<Past>>,
    /// Which revision took the place of something older in which key, in order: what compaction has to visit.
    superseded: VecDeque<(Revision, Key)>,
    expiries: BTreeSet<(u64, Key)>,
    pub(crate) files: Arc<Files>,
}

/// One record of a read at some revision, perhaps still to be fetched from the disk.
pub(crate) enum Found {
    Here(Kept),
    OnDisk { key: Key, revision: Revision },
}

impl State {
    pub(crate) fn new(revision: Revision, compacted: Revision, files: Arc<Files>) -> Self {
        Self {
            revision,
            compacted,
            newest: BTreeMap::new(),
            past: BTreeMap::new(),
            superseded: VecDeque::new(),
            expiries: BTreeSet::new(),
            files,
        }
    }

    /// Takes over a record of a checkpoint.
    pub(crate) fn restore(&mut self, kept: Kept) {
        if kept.expires > 0 {
            self.expiries.insert((kept.expires, kept.key.clone()));
        }
        let newest = Newest {
            revision: kept.revision,
            value: kept.value,
            expires: kept.expires,
        };
        self.newest.insert(kept.key, newest);
    }

    /// Takes in a transaction.
    pub(crate) fn apply(&mut self, revision: Revision, writes: Vec<Write>) {
        self.revision = revision;
        for Write { key, effect } in writes {
            let (old, deleted) = match effect {
                Effect::Put { value, expires } => {
                    if expires > 0 {
                        self.expiries.insert((expires, key.clone()));
                    }
                    (
                        self.newest.insert(
                            key.clone(),
                            Newest {
                                revision,
                                value,
                                expires,
                            },
                        ),
                        false,
                    )
                }
                Effect::Delete => (self.newest.remove(&key), true),
            };
            let Some(old) = old else { continue };
            if old.expires > 0 && (deleted || self.newest.get(&key).is_none_or(|new| new.expires != old.expires)) {
                self.expiries.remove(&(old.expires, key.clone()));
            }
            let versions = self.past.entry(key.clone()).or_default();
            versions.push_back(Past {
                revision: old.revision,
                there: true,
            });
            if deleted {
                versions.push_back(Past { revision, there: false });
            }
            self.superseded.push_back((revision, key));
        }
    }

    /// Forgets the versions that can only be seen below a revision.
    pub(crate) fn compact(&mut self, to: Revision) {
        self.compacted = self.compacted.max(to);
        while self.superseded.front().is_some_and(|(revision, _)| *revision <= to) {
            let Some((revision, key)) = self.superseded.pop_front() else {
                break;
            };
            let Some(versions) = self.past.get_mut(&key) else {
                continue;
            };
            // A deletion that nothing is before says no more than there being nothing.
            let is_over = |past: &Past| past.revision < revision || past.revision == revision && !past.there;
            while versions.front().is_some_and(is_over) {
                versions.pop_front();
            }
            if versions.is_empty() {
                self.past.remove(&key);
            } else if versions.capacity() > 64 && versions.len() < versions.capacity() / 4 {
                versions.shrink_to_fit();
            }
        }
        if self.superseded.capacity() > 4096 && self.superseded.len() < self.superseded.capacity() / 4 {
            self.superseded.shrink_to_fit();
        }
    }

    /// The newest record of a key, with the key as it is kept.
    pub(crate) fn newest(&self, key: &str) -> Option<(&Key, &Newest)> {
        self.newest.get_key_value(key)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.newest.len()
    }

    /// How many older versions are known.
    pub(crate) fn history(&self) -> usize {
        self.superseded.len()
    }

    /// When the next record deletes itself.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Some of the keys whose time is over.
    pub(crate) fn expired(&self, now: u64, at_most: usize) -> Vec<Key> {
        self.expiries
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(at_most)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// Whether a revision can be read.
    pub(crate) fn check(&self, at: Revision) -> Result<(), Error> {
        if at < self.compacted {
            return Err(Error::Compacted { oldest: self.compacted });
        }
        if at > self.revision {
            return Err(Error::Future { newest: self.revision });
        }
        Ok(())
    }

    /// A key at a revision that can be read.
    pub(crate) fn at(&self, key: &str, at: Revision) -> Option<Found> {
        match self.newest.get_key_value(key) {
            Some((key, newest)) if newest.revision <= at => Some(here(key, newest)),
            _ => self
                .past
                .get_key_value(key)
                .and_then(|(key, versions)| before(key, versions, at)),
        }
    }

    /// The newest records with a prefix after a key.
    pub(crate) fn records<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> impl Iterator<Item = Record> + 'a {
        let record = |(key, newest): (&Key, &Newest)| Record {
            key: key.clone(),
            value: newest.value.clone(),
            revision: newest.revision,
        };
        within(&self.newest, prefix, after).map(record)
    }

    /// How many newest records have a prefix and are after a key.
    pub(crate) fn count(&self, prefix: &str, after: Option<&str>) -> usize {
        within(&self.newest, prefix, after).count()
    }

    /// The records with a prefix after a key, as of a revision that can be read.
    pub(crate) fn found_at<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        at: Revision,
    ) -> impl Iterator<Item = Found> + 'a {
        let mut newest = within(&self.newest, prefix, after).peekable();
        let mut past = within(&self.past, prefix, after).peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (newest.peek(), past.peek()) {
                    (Some((a, _)), Some((b, _))) => a.cmp(b),
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (None, None) => return None,
                };
                let now = if order.is_le() { newest.next() } else { None };
                let old = if order.is_ge() { past.next() } else { None };
                let found = match now {
                    Some((key, newest)) if newest.revision <= at => Some(here(key, newest)),
                    _ => old.and_then(|(key, versions)| before(key, versions, at)),
                };
                if found.is_some() {
                    return found;
                }
            }
        })
    }
}

fn here(key: &Key, newest: &Newest) -> Found {
    let Newest {
        revision,
        ref value,
        expires,
    } = *newest;
    Found::Here(Kept {
        key: key.clone(),
        revision,
        value: value.clone(),
        expires,
    })
}

/// The version that a revision saw.
fn before(key: &Key, versions: &VecDeque<Past>, at: Revision) -> Option<Found> {
    let after = versions.partition_point(|past| past.revision <= at);
    let past = versions.get(after.checked_sub(1)?)?;
    past.there.then(|| Found::OnDisk {
        key: key.clone(),
        revision: past.revision,
    })
}

fn within<'a, V>(
    map: &'a BTreeMap<Key, V>,
    prefix: &'a str,
    after: Option<&str>,
) -> impl Iterator<Item = (&'a Key, &'a V)> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    map.range::<str, _>((start, Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}
