//! What can go wrong in a store.

use std::path::PathBuf;

use meta::Revision;

/// Why the store did not answer. Nothing was changed, except perhaps for [`Error::Unknown`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The history that was asked for is gone.
    #[error("this revision has been compacted; the oldest is {oldest}")]
    Compacted {
        /// The oldest revision that can still be read, and after which a watch can begin.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("this revision is in the future; the newest is {newest}")]
    Future {
        /// The newest revision.
        newest: Revision,
    },
    /// Over one of the limits.
    #[error("too many {what}: {size}; the limit is {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A transaction that breaks a rule of the contract.
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// No room on the disk: nothing new is written until there is; everything acknowledged is safe and readable.
    #[error("no space left on the store's disk: free some space; writes go on by themselves afterwards")]
    NoSpace,
    /// Another process has the directory.
    #[error("the store in {} is in use by process {pid}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other process.
        pid: u32,
    },
    /// What lies on the disk is not what was written there. Nothing is repaired by guessing.
    #[error("the store's file {file} is damaged at byte {offset}: {detail}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A file of another version of this program.
    #[error("the store's file {file} has format {found}; this program reads up to format {known}")]
    Format {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The operating system refused.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// The store can't be reached; nothing was done.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// A layer over the store can't bring a value into the form in which it is stored; nothing was done.
    #[error("{0}")]
    Transform(String),
    /// A write was under way when something broke: it may or may not have happened, the caller must look.
    #[error("the outcome of the write is not known: {0}")]
    Unknown(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
