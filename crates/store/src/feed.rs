//! The ordered feed of all changes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use meta::Revision;

use crate::{Error, Key};

/// Every change after some revision, in order, none twice and none left out.
#[async_trait]
pub trait Feed: Send {
    /// Waits for the next batch. After an error the feed is over; the caller opens another one after the last
    /// revision that it saw. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Batch, Error>;

    /// Asks for a batch without events soon, that says how far the feed is; for a store whose revision also moves by
    /// what the feed doesn't show.
    async fn request_progress(&mut self) -> Result<(), Error>;
}

/// All changes of one revision; without events it says that everything up to that revision has been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The revision of all its changes.
    pub revision: Revision,
    /// The changes, in the order of the transaction's operations.
    pub events: Arc<[Event]>,
}

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub key: Key,
    /// What became of it.
    pub change: Change,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value now.
    Put(Bytes),
    /// It is gone: deleted, or its time was over.
    Delete,
}
