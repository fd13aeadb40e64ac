//! What can go wrong with images.

use std::io;
use std::path::PathBuf;

use crate::reference::InvalidReference;

/// A failure of the image store, an import or a build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no image name.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// No such image in the store.
    #[error("no image {0:?} here; `gantry image ls` lists what there is")]
    NotFound(String),
    /// The beginning of an id that several images have.
    #[error("{0:?} is the beginning of several images' ids; give more of it")]
    Ambiguous(String),
    /// A container runs on it.
    #[error("image {0} is in use by a container; stop it first, or remove the name alone with --force")]
    InUse(String),
    /// The registry says no.
    #[error("{host}: {reason}")]
    Registry {
        /// Which one.
        host: String,
        /// Its HTTP status.
        status: u16,
        /// What it said, and about what.
        reason: String,
    },
    /// The registry, or where a file is downloaded from, can't be reached or breaks off.
    #[error("talking to {host}: {reason}")]
    Network {
        /// Which one.
        host: String,
        /// Why not.
        reason: String,
    },
    /// The registries' configuration or somebody's credentials can't be used.
    #[error("{what}: {reason}")]
    Configuration {
        /// The file or setting.
        what: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The archive or a document in it is not what the specification says.
    #[error("{what} is not a valid image: {reason}")]
    Invalid {
        /// The archive, document or layer.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A blob's content is not what its name says.
    #[error("blob {digest} is damaged: its content has the digest {found}")]
    Digest {
        /// The name.
        digest: String,
        /// The content's digest.
        found: String,
    },
    /// The image has nothing for this machine.
    #[error("the image has no {wanted} variant; it has: {found}")]
    Platform {
        /// This machine's.
        wanted: String,
        /// Those there are.
        found: String,
    },
    /// A Dockerfile's line can't be carried out.
    #[error("Dockerfile line {line}: {reason}")]
    Dockerfile {
        /// Counted from 1.
        line: usize,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The file system refused.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried: "reading", "writing".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// Whether the registry says that there is no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Error::Registry { status: 404, .. })
    }
}

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds to an I/O error what was tried and where.
pub(crate) trait At<T> {
    /// As `doing path`, for example "reading /x".
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing,
            path: path.into(),
            source: source.into(),
        })
    }
}

/// A `Configuration` error.
pub(crate) fn configuration(what: impl Into<String>, reason: impl ToString) -> Error {
    Error::Configuration {
        what: what.into(),
        reason: reason.to_string(),
    }
}

/// A `Network` error with all that is known of its cause.
pub(crate) fn network(host: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = inner.source();
    }
    Error::Network {
        host: host.to_string(),
        reason,
    }
}

/// An `Invalid` error.
pub(crate) fn invalid(what: impl Into<String>, reason: impl ToString) -> Error {
    Error::Invalid {
        what: what.into(),
        reason: reason.to_string(),
    }
}
