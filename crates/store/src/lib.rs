//! The source of truth: a revisioned key-value store behind one trait, with etcd's contract.
//!
//! What holds: every transaction that changes something takes the next revision, and all its changes carry that one;
//! a write is durable before it is acknowledged; what was acknowledged is seen by every later read; every past
//! revision can be read until it is compacted; one ordered feed tells of every change. Values are opaque bytes: no
//! Kubernetes kind, no JSON and no cache may ever be in here.

mod caller;
pub mod embedded;
mod error;
pub mod etcd;
mod feed;
mod key;
mod read;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod txn;

use async_trait::async_trait;
use meta::Revision;

pub use caller::traced;
pub use embedded::Embedded;
pub use error::Error;
pub use etcd::Etcd;
pub use feed::{Batch, Change, Event, Feed};
pub use key::Key;
pub use read::{Got, Page, Range, Record};
pub use txn::{Compare, MAX_KEY_BYTES, MAX_OPS, MAX_TXN_BYTES, Op, Outcome, Txn};

/// A revisioned store. An empty one is at revision 1 or later, never 0.
///
/// All methods may be called at once from any number of tasks. A dropped future of [`Store::commit`] does not take
/// the transaction back.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest revision. What was acknowledged before the call is at or below it.
    async fn revision(&self) -> Result<Revision, Error>;

    /// One record, as of `at` or now. [`Error::Compacted`] and [`Error::Future`] when `at` cannot be read.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, Error>;

    /// The records of a range in the order of their keys, all as of one revision.
    async fn range(&self, range: Range) -> Result<Page, Error>;

    /// Does all of a transaction or nothing. When it returns [`Outcome::Done`], the changes are durable and seen by
    /// every read that starts afterwards.
    ///
    /// Nothing was done on any error but [`Error::Unknown`]. Transactions that change nothing (no operation, or only
    /// deletes of absent keys) take no revision.
    async fn commit(&self, txn: Txn) -> Result<Outcome, Error>;

    /// Every change after the revision `after`, in order. [`Error::Compacted`] when some of them are gone.
    async fn watch(&self, after: Revision) -> Result<Box<dyn Feed>, Error>;

    /// Forgets what can only be seen at revisions below `revision`; `revision` itself stays readable, as do all
    /// newest records. Going back is not an error and changes nothing.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
}
