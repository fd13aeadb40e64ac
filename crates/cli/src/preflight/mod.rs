//! What a machine must have before a node starts on it. Everything is asked before anything is made, so that a machine
//! on which Gantry can't run stays as it was; each lack is told in one line, with the remedy.
//!
//! What is asked stands here, in its order; how the kernel is asked is in `machine`. Nothing here changes the machine.

mod machine;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

pub use machine::Machine;

/// The oldest kernel that has all that the engine calls.
const OLDEST_KERNEL: (u32, u32) = (5, 14);
/// What a start writes at most, with room for a first image and the log.
const SPACE: u64 = 64 << 20;
const FILES: u64 = 2000;

/// A machine as the checks see it, so that a test can take something away.
pub trait Host {
    /// Whether this process is root, in whatever user namespace.
    fn is_root(&self) -> bool;
    /// Whether its root is the machine's.
    fn owns_machine(&self) -> bool;
    /// Whether this process has a capability.
    fn has_capability(&self, capability: Capability) -> bool;
    /// The kernel's release, as `uname -r` prints it.
    fn kernel(&self) -> String;
    /// Whether the kernel has a feature.
    fn has_feature(&self, feature: Feature) -> bool;
    /// The file system that will have the directory.
    fn disk(&self, dir: &Path) -> io::Result<Disk>;
    /// Listens for a moment.
    fn listen(&self, address: SocketAddr) -> io::Result<()>;
    /// Whether the ranges are free on this host.
    fn ranges(&self, instance: &str, pods: Ipv4Net, services: Ipv4Net) -> Result<(), network::Error>;
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that may still be written.
    pub free: u64,
    /// Files that may still be made; `None` where there is no limit.
    pub files: Option<u64>,
    /// Another overlay can't have its upper layer on an overlay.
    pub is_overlay: bool,
}

/// A part of root's power (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Its bit.
    pub bit: u8,
}

/// Something that a kernel may be built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `overlay`, which containers' root directories are made of.
    Overlay,
    /// A kind of namespace, by its name in `/proc/self/ns`.
    Namespace(&'static str),
    /// System call filters.
    Seccomp,
    /// A cgroup controller.
    Controller(&'static str),
    /// `nf_tables`, which Services are made of.
    NfTables,
}

/// Why Gantry can't start on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// Not root.
    #[error("a node needs root: run `sudo gantry up`")]
    Root,
    /// Root of a user namespace only.
    #[error("this is root of a user namespace, and a node needs the machine's own: run it outside of the namespace")]
    OwnMachine,
    /// Root without some of its power.
    #[error(
        "this process lacks {}, which a node needs: run it outside of a container, or give that to the container", .0.join(", ")
    )]
    Capabilities(Vec<&'static str>),
    /// An old kernel.
    #[error("kernel {release} is too old: Gantry needs Linux {}.{} or later", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    Kernel {
        /// As `uname -r` prints it.
        release: String,
    },
    /// A kernel without something.
    #[error("the kernel has no support for {what}: enable {option}, or use another kernel")]
    Feature {
        /// What is missing.
        what: String,
        /// How it comes.
        option: &'static str,
    },
    /// A data directory on an overlay.
    #[error("{} is on overlayfs, where containers can't keep their files: choose a --data-dir on another file system", .0.display())]
    OnOverlay(PathBuf),
    /// A full disk.
    #[error(
        "the disk of {} is full: {free} are left, and a start needs {needed}: free some, or choose another --data-dir", dir.display()
    )]
    Space {
        /// The data directory.
        dir: PathBuf,
        /// What is left.
        free: String,
        /// What must be.
        needed: String,
    },
    /// A disk that can't be asked.
    #[error("{} can't be the data directory: {source}; choose another --data-dir", dir.display())]
    Disk {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A port in use.
    #[error("{0} is taken by another program: end that, or choose another --listen")]
    PortTaken(SocketAddr),
    /// An address that can't be had.
    #[error("listening on {address}: {source}; choose another --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A range in use.
    #[error(transparent)]
    Range(#[from] network::Error),
}

/// What of root's power a node uses.
const CAPABILITIES: [Capability; 11] = [
    capability("CAP_CHOWN", 0),
    capability("CAP_DAC_OVERRIDE", 1),
    capability("CAP_FOWNER", 3),
    capability("CAP_KILL", 5),
    capability("CAP_SETGID", 6),
    capability("CAP_SETUID", 7),
    capability("CAP_SETPCAP", 8),
    capability("CAP_NET_BIND_SERVICE", 10),
    capability("CAP_NET_ADMIN", 12),
    capability("CAP_SYS_ADMIN", 21),
    capability("CAP_MKNOD", 27),
];

const FEATURES: [(Feature, &str, &str); 10] = [
    (Feature::Overlay, "overlayfs", "CONFIG_OVERLAY_FS"),
    (Feature::Namespace("net"), "network namespaces", "CONFIG_NET_NS"),
    (Feature::Namespace("pid"), "process namespaces", "CONFIG_PID_NS"),
    (Feature::Namespace("ipc"), "ipc namespaces", "CONFIG_IPC_NS"),
    (Feature::Namespace("uts"), "uts namespaces", "CONFIG_UTS_NS"),
    (Feature::Seccomp, "seccomp filters", "CONFIG_SECCOMP_FILTER"),
    (
        Feature::Controller("memory"),
        "the memory cgroup controller",
        "CONFIG_MEMCG and mount it below /sys/fs/cgroup",
    ),
    (
        Feature::Controller("cpu"),
        "the cpu cgroup controller",
        "CONFIG_CGROUP_SCHED and mount it below /sys/fs/cgroup",
    ),
    (
        Feature::Controller("pids"),
        "the pids cgroup controller",
        "CONFIG_CGROUP_PIDS and mount it below /sys/fs/cgroup",
    ),
    (Feature::NfTables, "nf_tables", "CONFIG_NF_TABLES"),
];

const fn capability(name: &'static str, bit: u8) -> Capability {
    Capability { name, bit }
}

/// What an instance asks of the machine.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// The data directory, which need not exist.
    pub dir: &'a Path,
    /// The instance's id.
    pub instance: &'a str,
    /// Where it will listen.
    pub listen: SocketAddr,
    /// Addresses for pods.
    pub pods: Ipv4Net,
    /// Addresses for Services.
    pub services: Ipv4Net,
}

/// Whether a node can run here at all: privileges first, since without them the kernel doesn't answer the rest.
pub fn can_run_node(host: &impl Host) -> Result<(), Missing> {
    if !host.is_root() {
        return Err(Missing::Root);
    }
    if !host.owns_machine() {
        return Err(Missing::OwnMachine);
    }
    let lacking: Vec<&str> = CAPABILITIES
        .into_iter()
        .filter(|capability| !host.has_capability(*capability))
        .map(|capability| capability.name)
        .collect();
    if !lacking.is_empty() {
        return Err(Missing::Capabilities(lacking));
    }
    let release = host.kernel();
    // What isn't a version is some kernel of somebody's own; its features are asked for below.
    if version(&release).is_some_and(|version| version < OLDEST_KERNEL) {
        return Err(Missing::Kernel { release });
    }
    match FEATURES.into_iter().find(|(feature, ..)| !host.has_feature(*feature)) {
        Some((_, what, option)) => Err(Missing::Feature {
            what: what.to_owned(),
            option,
        }),
        None => Ok(()),
    }
}

/// Whether what an instance asks for is free.
pub fn can_have(host: &impl Host, wishes: &Wishes<'_>) -> Result<(), Missing> {
    check_disk(host, wishes.dir)?;
    let address = wishes.listen;
    host.listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Missing::PortTaken(address),
        _ => Missing::Listen { address, source },
    })?;
    Ok(host.ranges(wishes.instance, wishes.pods, wishes.services)?)
}

fn check_disk(host: &impl Host, dir: &Path) -> Result<(), Missing> {
    let disk = host.disk(dir).map_err(|source| Missing::Disk {
        dir: dir.to_owned(),
        source,
    })?;
    if disk.is_overlay {
        return Err(Missing::OnOverlay(dir.to_owned()));
    }
    let short = |free: String, needed: String| {
        Err(Missing::Space {
            dir: dir.to_owned(),
            free,
            needed,
        })
    };
    if disk.free < SPACE {
        return short(format!("{} KiB", disk.free >> 10), format!("{} MiB", SPACE >> 20));
    }
    match disk.files {
        Some(files) if files < FILES => short(format!("{files} files"), format!("{FILES} files")),
        _ => Ok(()),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests;
