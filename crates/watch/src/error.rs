//! What can go wrong for a reader of a cache.

use meta::Revision;

/// Why a list or a watch cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The changes after that revision are no longer all in the cache: list again, watch from there. (410 Gone.)
    #[error("the changes after revision {after} are no longer all known; the oldest that are follow {oldest}")]
    Expired {
        /// The revision from which on changes were wanted.
        after: Revision,
        /// The oldest revision from which a watch can begin.
        oldest: Revision,
    },
    /// The cache was given up, or the hub has stopped.
    #[error("the cache is closed")]
    Closed,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
}
