//! The services that this node must serve, as the network sees them: addresses, ports and ways to pick an endpoint.
//! Which endpoints count as usable is decided by whoever builds the table; nothing here knows where it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The full desired state of services on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// The services by a name of the caller's choice (`namespace/name`), which `dump` and logs show. When two want one
    /// address and port, the one that had it before keeps it, else the first in this order has it. Services are behind
    /// `Arc` so that an unchanged one costs nothing: keep the old `Arc` where a service did not change.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Services that a process of this host serves itself. They win over `services`.
    pub local: Vec<LocalService>,
}

/// One service.
///
/// A port of the host that leads to one pod (hostPort) is a service too: no cluster address, `external_local`, and the
/// port as `node_port`; on one address of the host only, that address as external one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its cluster addresses; none for a headless service, which then has no rules.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses from outside that lead here: external addresses and those of load balancers.
    pub external_ips: Vec<IpAddr>,
    /// A client keeps its endpoint for this long after its last connection.
    pub affinity: Option<Duration>,
    /// Traffic to the cluster addresses goes to endpoints on this node only (internalTrafficPolicy Local).
    pub internal_local: bool,
    /// Traffic from outside goes to endpoints on this node only, and keeps its source (externalTrafficPolicy Local).
    pub external_local: bool,
    /// The ports; a port without usable endpoints refuses connections at once.
    pub ports: Vec<ServicePort>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port on the cluster and external addresses.
    pub port: u16,
    /// The port on every address of this host, 127.0.0.1 included.
    pub node_port: Option<u16>,
    /// The endpoints that new connections may go to where no policy says Local: the ready ones, or where there is none
    /// the ones that still serve while they terminate; of them those that are preferred here. None: it is refused.
    pub endpoints: Vec<Endpoint>,
    /// The same of this node, for policy Local: also such as are not among `endpoints`.
    pub local_endpoints: Vec<Endpoint>,
}

/// Where connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The pod's address.
    pub address: IpAddr,
    /// The port that it listens on.
    pub port: u16,
    /// The pod is on this node.
    pub local: bool,
}

/// A service address that leads to a socket of this host, also to one on loopback only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalService {
    /// The service's address and port.
    pub service: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// Where the process listens. A UDP server must be bound to this address itself, not to all, or its answers come
    /// from another one.
    pub target: SocketAddr,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    pub(crate) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}
