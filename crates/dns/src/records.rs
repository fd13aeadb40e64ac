//! What the zone is made from: services as DNS sees them.

use std::net::IpAddr;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How its name resolves.
    pub kind: Kind,
    /// Its ports; those with a name have SRV records.
    pub ports: Vec<Port>,
}

/// How a service's name resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To its own addresses.
    Cluster(Vec<IpAddr>),
    /// To the addresses of its endpoints: the ready ones, or all when it publishes those that are not, too.
    Headless(Vec<Endpoint>),
    /// To another name.
    External(String),
}

/// One endpoint of a headless service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The name that it has below the service's; without one it gets a name from its address.
    pub hostname: Option<String>,
    /// Ports of this endpoint that have another number than the service's; by name.
    pub ports: Vec<Port>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, if any.
    pub name: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The label in an SRV record's name.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Protocol::Tcp => "_tcp",
            Protocol::Udp => "_udp",
            Protocol::Sctp => "_sctp",
        }
    }
}

impl Endpoint {
    /// The label below the service's name.
    pub(crate) fn label(&self) -> String {
        match (&self.hostname, self.addresses.first()) {
            (Some(hostname), _) => hostname.to_ascii_lowercase(),
            (None, Some(address)) => address_label(*address),
            (None, None) => String::new(),
        }
    }
}

/// An address as one label: dots and colons become dashes.
pub(crate) fn address_label(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
