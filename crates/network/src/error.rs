//! What can go wrong in the network, each with the remedy where a person has one.

use std::io;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::config::SlotId;

/// Why the network could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not change the network.
    #[error("no privilege to change the network: run as root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    Privilege(#[source] io::Error),
    /// The kernel lacks something that services are made of.
    #[error("the kernel has no support for {feature}: enable {option} or use another kernel")]
    KernelFeature {
        /// What is missing.
        feature: &'static str,
        /// The kernel's configuration option for it.
        option: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The two ranges of one instance overlap.
    #[error(
        "the pod range {pods} and the service range {services} overlap: choose another --pod-cidr or --service-cidr"
    )]
    OwnRanges {
        /// The range of pods.
        pods: Ipv4Net,
        /// The range of services.
        services: Ipv4Net,
    },
    /// The node's range is not of the cluster's.
    #[error(
        "the node's pod range {pods} is not part of the cluster's, {cluster}: start the node with the cluster's --pod-cidr"
    )]
    ForeignPods {
        /// The node's range.
        pods: Ipv4Net,
        /// The cluster's.
        cluster: Ipv4Net,
    },
    /// A range is too small to be of use.
    #[error("the range {0} is too small: a pod range needs at least 8 addresses, a service range 2")]
    SmallRange(Ipv4Net),
    /// A range is in use by this host's own network.
    #[error("{range} overlaps {with} of this host: choose another {flag}")]
    HostOverlap {
        /// The range asked for.
        range: Ipv4Net,
        /// The route or address that is in the way.
        with: String,
        /// The flag that sets the range.
        flag: &'static str,
    },
    /// A range is in use by another instance.
    #[error("{range} overlaps {with} of the Gantry instance {other}: choose another {flag}")]
    InstanceOverlap {
        /// The range asked for.
        range: Ipv4Net,
        /// The range that is in the way.
        with: Ipv4Net,
        /// Who has it: id and state directory.
        other: String,
        /// The flag that sets the range.
        flag: &'static str,
    },
    /// The kernel refused a request.
    #[error("{what}")]
    Kernel {
        /// What was asked of it.
        what: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The ledger is of a version that this program doesn't know, or not a ledger.
    #[error("{} is not a ledger of a known version", .0.display())]
    LedgerVersion(PathBuf),
    /// All pod addresses are taken.
    #[error("no free address in the pod range {0}")]
    NoAddress(Ipv4Net),
    /// The slot is attached already.
    #[error("slot {0} is attached already")]
    SlotTaken(SlotId),
    /// No such slot is attached.
    #[error("slot {0} is not attached")]
    NoSuchSlot(SlotId),
}

impl Error {
    /// A refusal by the kernel, with missing privilege told apart.
    pub(crate) fn kernel(what: impl Into<String>, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(libc::EPERM) => Error::Privilege(source),
            _ => Error::Kernel {
                what: what.into(),
                source,
            },
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::File {
            path: path.into(),
            source,
        }
    }
}
