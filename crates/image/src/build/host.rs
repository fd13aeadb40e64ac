//! What a build needs of the machine and has others do: running a command in a container, downloading, pulling.
//!
//! The image crate runs nothing itself; the command line implements this with the engine.

use std::fs::File;
use std::path::PathBuf;

pub use super::mount::Network;

/// The machine, as a build sees it.
pub trait Host: Sync {
    /// Runs a command to its end and tells what it writes. All that the command has started is gone afterwards.
    fn run(&self, job: &Job, output: &mut dyn FnMut(Stream, &[u8])) -> Result<i32, Failure>;

    /// Downloads a file; answers when it was last changed, in seconds, if that is known.
    fn fetch(&self, url: &str, to: &mut File) -> Result<Option<i64>, Failure>;

    /// Brings an image into the store, or the one that its name means by now, and tells how far it is.
    fn pull(&self, name: &str, output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Failure>;

    /// Whether the build is to end.
    fn cancelled(&self) -> bool;
}

/// Why the machine didn't do it, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Which of a command's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A command to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Where it starts.
    pub cwd: String,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// What it sees as its root, topmost first; never empty.
    pub lowers: Vec<PathBuf>,
    /// Where what it writes is kept; exists.
    pub upper: PathBuf,
    /// For overlayfs, on the same file system; exists.
    pub work: PathBuf,
    /// What is mounted besides, parents first.
    pub mounts: Vec<JobMount>,
    /// What network it sees.
    pub network: Network,
}

/// A mount for a command.
#[derive(Clone, Debug)]
pub struct JobMount {
    /// The absolute path that it is mounted on.
    pub target: String,
    /// What.
    pub source: Source,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file or directory of the host.
    Host {
        /// Where.
        path: PathBuf,
        /// Whether it can't be written to.
        read_only: bool,
    },
    /// Layers, topmost first, of which one path is shown. What is written to them is thrown away.
    Layers {
        /// The layers.
        layers: Vec<PathBuf>,
        /// The path in them, relative.
        path: PathBuf,
        /// An empty directory for what is written; `None` when nothing may be.
        scratch: Option<PathBuf>,
    },
    /// Memory.
    Tmpfs {
        /// How much; `None` is the kernel's default.
        size: Option<u64>,
    },
    /// A file that is never on a disk.
    Secret {
        /// What is in it.
        content: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}
