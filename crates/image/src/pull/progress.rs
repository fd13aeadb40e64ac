//! What a pull tells of itself while it runs.

use crate::reference::Reference;

/// How far a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Others go first.
    Waiting {
        /// Its bytes.
        total: u64,
    },
    /// It is being received, and unpacked as it comes.
    Downloading {
        /// Bytes that are here, those of an earlier pull included.
        done: u64,
        /// Its bytes.
        total: u64,
    },
    /// The connection broke; it goes on where it was.
    Retrying {
        /// Bytes that are here.
        done: u64,
    },
    /// Its bytes are all here, the last of them are being unpacked.
    Extracting,
    /// It is ready.
    Done,
    /// It was here before.
    Exists,
}

/// Who wants to know how far a pull is. Called often, and from several tasks.
pub trait TransferProgress: Send + Sync {
    /// The registry has it, under this digest.
    fn resolved(&self, name: &Reference, digest: &str);
    /// A layer is further than before.
    fn layer(&self, digest: &str, state: LayerState);
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl TransferProgress for Quiet {
    fn resolved(&self, _: &Reference, _: &str) {}
    fn layer(&self, _: &str, _: LayerState) {}
}
