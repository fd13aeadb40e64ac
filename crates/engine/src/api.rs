//! What the engine is told and what it tells: specs, identities, states, exits. No behaviour beyond small conversions,
//! and nothing that Kubernetes names.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use jiff::Timestamp;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

/// Where an engine keeps its state and under which cgroup its containers live.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything that must survive a restart: sandboxes, containers, exit files. Owned by this engine alone.
    pub state_dir: PathBuf,
    /// The cgroup below each hierarchy's root that holds all sandboxes, such as `gantry-12ab34`.
    pub cgroup_parent: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes an id of 1 to 100 letters, digits, `-`, `_` and inner dots; it becomes a file name.
            pub fn new(id: impl Into<String>) -> Result<Self, crate::Error> {
                let id = id.into();
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if id.is_empty() || id.len() > 100 || id.starts_with('.') || !id.chars().all(fits) {
                    return Err(crate::Error::BadId(id));
                }
                Ok(Self(id))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Names a sandbox: namespaces and a cgroup that containers share.
    SandboxId
);
id!(
    /// Names a container.
    ContainerId
);

/// Which namespaces a sandbox has of its own; those it has not are the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// A network namespace, with loopback up.
    pub network: bool,
    /// System V and POSIX message queues of its own.
    pub ipc: bool,
    /// A host name of its own.
    pub uts: bool,
    /// One process namespace for all its containers, held by a pause process.
    pub shared_pid: bool,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            network: true,
            ipc: true,
            uts: true,
            shared_pid: false,
        }
    }
}

/// What a prepared sandbox gets when somebody takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose it is now, in the caller's words (a pod's uid); found again after a restart.
    pub owner: String,
    /// The host name, where the sandbox has a uts namespace.
    pub hostname: Option<String>,
    /// Namespaced sysctls, such as `net.ipv4.ip_unprivileged_port_start`.
    pub sysctls: Vec<(String, String)>,
    /// Limits of all its containers together.
    pub limits: Limits,
}

/// A sandbox as it stands.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Which namespaces are its own.
    pub namespaces: Namespaces,
    /// The file that its network namespace is mounted on, if it has one.
    pub netns: Option<PathBuf>,
    /// Its cgroup, relative to each hierarchy's root.
    pub cgroup: String,
    /// Whether its namespaces are there: not after the machine was restarted. Such a one can only be removed.
    pub alive: bool,
    /// Who claimed it; `None` for a slot that is free.
    pub owner: Option<String>,
}

/// Resource limits; what is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Relative weight in v1's terms: 2 to 262,144, 1,024 for one processor.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time per period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Processors, such as `0-1`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Bytes of memory; -1 is no limit.
    pub memory: Option<i64>,
    /// Number of tasks; -1 is no limit.
    pub pids: Option<i64>,
}

/// Where a container's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootFs {
    /// A directory, used as it is.
    Dir(PathBuf),
    /// An overlay, mounted in the container's own mount namespace only.
    Overlay {
        /// Read-only layers, the uppermost first.
        lowers: Vec<PathBuf>,
        /// What the container writes; made if missing.
        upper: PathBuf,
        /// Overlayfs's work directory, on the same file system; made if missing. Emptied by `delete`.
        work: PathBuf,
    },
}

/// Where a container's output goes, in the CRI's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// The file; its directory must exist. Rotated files are `<path>.1` (newest) to `<path>.<max_files - 1>`.
    pub path: PathBuf,
    /// Rotate before this many bytes are exceeded; 0 never rotates.
    pub max_size: u64,
    /// Number of files kept, the current one included; at least 1.
    pub max_files: u32,
}

/// A container to create.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its id, unique in this engine.
    pub id: ContainerId,
    /// The sandbox whose namespaces and cgroup it lives in. Namespaces that the bundle asks for without a path are
    /// taken from there (network, ipc, uts, and pid if shared); mount and pid otherwise are its own.
    pub sandbox: SandboxId,
    /// The OCI configuration. `root.path` is ignored in favour of `rootfs`; `root.readonly` counts.
    pub spec: Spec,
    /// The root file system.
    pub rootfs: RootFs,
    /// The log, if output is to be kept.
    pub log: Option<LogSpec>,
    /// Whether standard input stays open for `attach`; otherwise it is empty.
    pub stdin: bool,
    /// Whether standard input closes when the first attached client goes.
    pub stdin_once: bool,
    /// Free text of the caller, kept with the container and found again after a restart.
    pub labels: Vec<(String, String)>,
}

/// A container as it stands.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub sandbox: SandboxId,
    /// When it was created.
    pub created_at: Timestamp,
    /// What the caller noted.
    pub labels: Vec<(String, String)>,
    /// How far it is.
    pub state: State,
}

/// How far a container is. It goes down this list and never back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Known, not started.
    Created,
    /// Its process runs.
    Running(Started),
    /// Its process has ended.
    Exited(Exit),
}

/// A running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its process id on the host.
    pub pid: i32,
    /// When its program began.
    pub started_at: Timestamp,
    /// What the host did not let it have. Known to whoever started it, not after a restart.
    pub withheld: Withheld,
}

/// What a host without the privilege for it (CAP_SYS_RESOURCE) keeps from a process that starts all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// An OOM score as low as the bundle wants.
    pub oom_score: bool,
    /// Hard limits as high as the bundle wants.
    pub limits: bool,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, or 128 plus the signal.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in its cgroup for want of memory.
    pub oom_killed: bool,
    /// When its program began; `None` if it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The shim was lost, so that code or time are not certain.
    pub uncertain: bool,
}

/// What happened to containers, told once per event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container ended.
    Exited(ContainerId, Exit),
    /// The listener was too slow and events were dropped: look at everything.
    Missed,
}

/// A process to run in a running container, under the same rules as its first.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Added to, and winning over, the container's environment.
    pub env: Vec<(String, String)>,
    /// Working directory instead of the container's.
    pub cwd: Option<String>,
    /// With a terminal; standard error is then one with standard output.
    pub tty: bool,
    /// Whether standard input is wanted; otherwise it is empty.
    pub stdin: bool,
    /// The terminal's first size, rows and columns.
    pub size: Option<(u16, u16)>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time since its start in nanoseconds.
    pub cpu_ns: u64,
    /// Memory charged, in bytes.
    pub memory_usage: u64,
    /// Memory charged less the page cache that can go at once.
    pub memory_working_set: u64,
    /// Tasks.
    pub pids: u64,
}

/// The ends of an attached container's streams. Plain descriptors, to be wrapped by the caller's event loop.
#[derive(Debug)]
pub struct Attached {
    /// Standard input, if the container has one open.
    pub stdin: Option<OwnedFd>,
    /// A non-blocking stream socket with what it writes from now on to standard output (or its terminal).
    pub stdout: OwnedFd,
    /// The same for standard error; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
}
