//! What can go wrong at the engine's border.

use std::io;
use std::path::PathBuf;

use crate::{ContainerId, SandboxId};

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An id that cannot be a file name.
    #[error("{0:?} is no valid id")]
    BadId(String),
    /// No such container.
    #[error("container {0} is not known")]
    NoContainer(ContainerId),
    /// No such sandbox.
    #[error("sandbox {0} is not known")]
    NoSandbox(SandboxId),
    /// The id is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// The operation does not fit the state, such as an exec in a container that has ended.
    #[error("{id} is {state}, so it cannot {action}")]
    WrongState {
        /// Which container or sandbox.
        id: String,
        /// How it stands.
        state: &'static str,
        /// What was wanted.
        action: &'static str,
    },
    /// The configuration asks for something that cannot be.
    #[error("configuration: {0}")]
    Invalid(String),
    /// The configuration asks for something that this engine does not do.
    #[error("the engine does not support {0}")]
    Unsupported(String),
    /// A step inside the container being made failed. `program` is what should have run.
    #[error("{step}: {}", crate::errno_text(*errno))]
    Step {
        /// The step, with what it was about, such as `mount /proc`.
        step: String,
        /// The kernel's answer.
        errno: i32,
        /// Whether it was the program itself that could not be run.
        exec: bool,
    },
    /// The shim went away without an answer.
    #[error("the shim of {0} ended without an answer")]
    ShimLost(String),
    /// State on disk is of another version or damaged.
    #[error("{path}: {reason}")]
    BadState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel or a file refused.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Several steps of a removal failed; the others were done.
    #[error("{} steps failed, the first: {}", .0.len(), .0.first().map(|e| e.to_string()).unwrap_or_default())]
    Several(Vec<Error>),
}

/// Shorthand for the engine's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done to an error of the kernel.
pub(crate) trait Context<T> {
    /// Turns the error into [`Error::Io`].
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source: source.into(),
        })
    }
}

/// Collects the errors of a removal that goes on regardless.
#[derive(Default)]
pub(crate) struct Errors(Vec<Error>);

impl Errors {
    /// Notes an error, if there was one, and goes on.
    pub(crate) fn note(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {}
            Err(Error::Several(errors)) => self.0.extend(errors),
            Err(error) => self.0.push(error),
        }
    }

    /// The outcome of all steps.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(Error::Several(self.0)),
        }
    }
}
