//! A service's DNS records. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServicePort;

use super::project::{Back, Front, protocol};

pub(super) fn record(front: &Front, backs: &[Arc<Back>]) -> dns::Service {
    let port = |port: &ServicePort| {
        let protocol = dns_protocol(protocol(port.protocol.as_deref())?);
        Some(dns::Port {
            name: port.name.clone(),
            protocol,
            port: u16::try_from(port.port).ok()?,
        })
    };
    let kind = if let Some(name) = &front.external_name {
        dns::Kind::External(name.clone())
    } else if front.headless {
        dns::Kind::Headless(backs.iter().flat_map(|back| endpoints(back)).collect())
    } else {
        dns::Kind::Cluster(front.cluster_ips.clone())
    };
    dns::Service {
        kind,
        ports: front.ports.iter().filter_map(port).collect(),
    }
}

/// The ready ones; whoever publishes those that are not, too, says of them that they are.
fn endpoints(back: &Back) -> Vec<dns::Endpoint> {
    let ports: Vec<dns::Port> = back
        .ports
        .iter()
        .map(|(name, protocol, port)| dns::Port {
            name: name.clone(),
            protocol: dns_protocol(*protocol),
            port: *port,
        })
        .collect();
    back.endpoints
        .iter()
        .filter(|endpoint| endpoint.ready)
        .map(|endpoint| dns::Endpoint {
            addresses: endpoint.addresses.clone(),
            hostname: endpoint.hostname.clone(),
            ports: ports.clone(),
        })
        .collect()
}

fn dns_protocol(protocol: network::Protocol) -> dns::Protocol {
    match protocol {
        network::Protocol::Tcp => dns::Protocol::Tcp,
        network::Protocol::Udp => dns::Protocol::Udp,
        network::Protocol::Sctp => dns::Protocol::Sctp,
    }
}
