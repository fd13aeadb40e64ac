//! Ports of the host that lead to a pod (`hostPort`): for the network each is a service with one endpoint. Pure.
//!
//! Whether a pod is ready doesn't matter: its ports are there as long as it is. That two pods don't want the same is the
//! scheduler's business; where it happens nevertheless, the one that came first keeps the port.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use client::ObjectKey;
use k8s_openapi::api::core::v1::{Container, Pod};
use network::Protocol;

use super::project::protocol;

/// A pod's host ports.
#[derive(Debug, PartialEq)]
pub(super) struct HostPorts {
    address: IpAddr,
    ports: Vec<HostPort>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct HostPort {
    /// The host's address; `None`: all of them.
    address: Option<Ipv4Addr>,
    protocol: Protocol,
    port: u16,
    target: u16,
}

/// What a pod's host ports are called in the table begins so; no service's name does.
pub(super) fn prefix(pod: &ObjectKey) -> String {
    format!("host-ports of {pod} ")
}

/// The host ports of a pod that has an address of its own.
pub(super) fn of_pod(pod: &Pod) -> Option<HostPorts> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if ended || spec.host_network == Some(true) {
        return None;
    }
    let sidecars = spec.init_containers.iter().flatten().filter(|container| {
        // Other init containers end before the pod is of use to anyone.
        container.restart_policy.as_deref() == Some("Always")
    });
    let ports: Vec<HostPort> = spec.containers.iter().chain(sidecars).flat_map(of_container).collect();
    if ports.is_empty() {
        return None;
    }
    let own = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let address = own
        .chain(&status.pod_ip)
        .filter_map(|ip| ip.parse().ok())
        .find(IpAddr::is_ipv4)?;
    Some(HostPorts { address, ports })
}

fn of_container(container: &Container) -> Vec<HostPort> {
    let ports = container.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?;
        let address = match port.host_ip.as_deref().unwrap_or_default() {
            "" | "0.0.0.0" => None,
            text => Some(text.parse().ok()?),
        };
        Some(HostPort {
            address,
            protocol: protocol(port.protocol.as_deref())?,
            port: number,
            target: u16::try_from(port.container_port).ok()?,
        })
    });
    ports.collect()
}

impl HostPorts {
    /// As services, by the names that they have in the table.
    pub(super) fn services(&self, pod: &ObjectKey) -> BTreeMap<String, network::Service> {
        let mut services: BTreeMap<String, network::Service> = BTreeMap::new();
        for port in &self.ports {
            let on = port
                .address
                .map_or_else(|| "all addresses".to_string(), |address| address.to_string());
            let endpoint = network::Endpoint {
                address: self.address,
                port: port.target,
                local: true,
            };
            let service = services.entry(prefix(pod) + &on).or_insert_with(|| network::Service {
                external_ips: port.address.map(IpAddr::V4).into_iter().collect(),
                external_local: true,
                ..network::Service::default()
            });
            service.ports.push(network::ServicePort {
                protocol: port.protocol,
                port: port.port,
                node_port: port.address.is_none().then_some(port.port),
                endpoints: vec![endpoint],
                local_endpoints: vec![endpoint],
            });
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(host_network: bool, phase: &str, ports: Value) -> Option<HostPorts> {
        let pod = json!({
            "metadata": {"namespace": "d", "name": "p"},
            "spec": {"hostNetwork": host_network, "containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": phase, "podIP": "10.42.0.7", "podIPs": [{"ip": "10.42.0.7"}]},
        });
        of_pod(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn by_address_and_protocol() {
        let ports = json!([
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 53, "hostPort": 8053, "protocol": "UDP", "hostIP": "127.0.0.1"},
            {"containerPort": 81},
        ]);
        let found = pod(false, "Running", ports.clone()).unwrap();
        let services = found.services(&ObjectKey::namespaced("d", "p"));
        let all = &services["host-ports of d/p all addresses"];
        assert_eq!(
            (all.ports[0].node_port, all.ports[0].endpoints[0].port),
            (Some(8080), 80)
        );
        assert!(all.external_local && all.external_ips.is_empty());
        let one = &services["host-ports of d/p 127.0.0.1"];
        assert_eq!(one.external_ips, [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(
            (one.ports[0].protocol, one.ports[0].port, one.ports[0].node_port),
            (Protocol::Udp, 8053, None)
        );
        assert_eq!(services.len(), 2);
        assert_eq!(
            pod(true, "Running", ports.clone()),
            None,
            "its ports are the host's already"
        );
        assert_eq!(pod(false, "Succeeded", ports), None);
        assert_eq!(pod(false, "Running", json!([{"containerPort": 81}])), None);
    }
}
