//! Keys as they are in etcd: with a prefix of the store's own, so that others can keep theirs in the same etcd.

use bytes::Bytes;
use meta::Revision;

use super::proto::KeyValue;
use crate::{Error, Key, Record};

/// Under the prefix, and before all keys of the store: written by who needs to know how far a watch is.
const MARK: &str = ".~progress";

/// What keys begin with in etcd, such as `/gantry`; never with a `/` at the end, because the keys begin with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    /// Slashes around it don't matter; without anything else the keys are as they are.
    pub(crate) fn new(text: &str) -> Self {
        let name = text.trim_matches('/');
        Self(if name.is_empty() {
            String::new()
        } else {
            format!("/{name}")
        })
    }

    /// A key in etcd.
    pub(crate) fn key(&self, key: &str) -> Result<Bytes, Error> {
        if !key.starts_with('/') {
            return Err(Error::Invalid("a key begins with a slash"));
        }
        Ok(format!("{}{key}", self.0).into())
    }

    /// The store's key; none for what isn't the store's.
    pub(crate) fn strip(&self, key: &[u8]) -> Option<Key> {
        let key = std::str::from_utf8(key.strip_prefix(self.0.as_bytes())?).ok()?;
        key.starts_with('/').then(|| Key::from(key))
    }

    /// From where to where the keys with a prefix are, those up to `after` left out.
    pub(crate) fn range(&self, prefix: &str, after: Option<&str>) -> Result<(Bytes, Bytes), Error> {
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        let from = self.key(prefix)?;
        let to = end_of(&from);
        let from = match after {
            Some(after) if after >= prefix => next_after(&self.key(after)?),
            _ => from,
        };
        Ok((from, to))
    }

    /// From where to where a watch sees everything of the store, and with `mark` the mark too.
    pub(crate) fn watched(&self, mark: bool) -> (Bytes, Bytes) {
        let all = Bytes::from(format!("{}/", self.0));
        let to = end_of(&all);
        (if mark { self.mark() } else { all }, to)
    }

    /// The key that is written by who wants to know how far a watch is.
    pub(crate) fn mark(&self) -> Bytes {
        format!("{}{MARK}", self.0).into()
    }

    /// A record as the store has it.
    pub(crate) fn record(&self, kv: KeyValue) -> Result<Record, Error> {
        let key = self.strip(&kv.key).ok_or_else(|| Error::Corrupt {
            file: format!("etcd's key {:?}", String::from_utf8_lossy(&kv.key)),
            offset: 0,
            detail: "no store has written it".to_owned(),
        })?;
        Ok(Record {
            key,
            value: kv.value.into(),
            revision: revision(kv.mod_revision),
        })
    }
}

/// The first key after all those that begin with this. Text never ends in the byte 255, so there always is one.
fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end.into()
}

/// The first key after this one.
pub(crate) fn next_after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// etcd's revisions are signed, and never negative.
pub(crate) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

/// A revision as etcd has it.
pub(crate) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
