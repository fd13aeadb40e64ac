//! What is kept of Services and EndpointSlices.

use std::net::IpAddr;
use std::time::Duration;

use client::ObjectKey;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const NONE: &str = "None";
/// What the API fills in for the time of client affinity.
const AFFINITY_SECONDS: u64 = 10_800;

/// What is kept of a Service.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Front {
    pub(super) kind: String,
    pub(super) cluster_ips: Vec<IpAddr>,
    pub(super) headless: bool,
    pub(super) external_name: Option<String>,
    pub(super) external_ips: Vec<IpAddr>,
    pub(super) affinity: Option<Duration>,
    pub(super) internal_local: bool,
    pub(super) external_local: bool,
    /// Where balancers outside ask whether this node has endpoints.
    pub(super) health_check_port: Option<u16>,
    pub(super) ports: Vec<ServicePort>,
}

/// What is kept of an EndpointSlice.
#[derive(Debug, PartialEq)]
pub(super) struct Back {
    pub(super) service: ObjectKey,
    pub(super) ports: Vec<(Option<String>, network::Protocol, u16)>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// One endpoint of a slice.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) hostname: Option<String>,
    pub(super) node: Option<String>,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    /// Zones and nodes whose traffic it should have.
    pub(super) for_zones: Vec<String>,
    pub(super) for_nodes: Vec<String>,
}

pub(super) fn front(service: &Service) -> Front {
    let spec = service.spec.clone().unwrap_or_default();
    let ips = spec
        .cluster_ips
        .clone()
        .unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    let balancers = service
        .status
        .iter()
        .filter_map(|s| s.load_balancer.as_ref()?.ingress.as_ref())
        .flatten()
        .filter(|ingress| !is_proxy(ingress));
    let kind = spec.type_.clone().unwrap_or_else(|| "ClusterIP".to_string());
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let seconds = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let external_local = local(&spec.external_traffic_policy) && kind != "ClusterIP";
    let check = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok());
    Front {
        headless: ips.iter().any(|ip| ip == NONE),
        cluster_ips: ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        external_name: spec.external_name.clone().filter(|_| kind == "ExternalName"),
        external_ips: spec
            .external_ips
            .iter()
            .flatten()
            .chain(balancers.filter_map(|ingress| ingress.ip.as_ref()))
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        affinity: (spec.session_affinity.as_deref() == Some("ClientIP"))
            .then(|| Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(AFFINITY_SECONDS))),
        internal_local: local(&spec.internal_traffic_policy),
        external_local: local(&spec.external_traffic_policy),
        health_check_port: check.filter(|port| *port > 0 && external_local && kind == "LoadBalancer"),
        ports: spec.ports.unwrap_or_default(),
        kind,
    }
}

/// A balancer that wants the packets itself, also those from inside (`ipMode: Proxy`).
fn is_proxy(ingress: &LoadBalancerIngress) -> bool {
    ingress.ip_mode.as_deref() == Some("Proxy")
}

pub(super) fn back(slice: &EndpointSlice) -> Option<Back> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port?).ok()?;
        Some((
            port.name.clone().filter(|name| !name.is_empty()),
            protocol(port.protocol.as_deref())?,
            number,
        ))
    });
    let endpoints = slice.endpoints.iter().flatten().map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let hints = endpoint.hints.as_ref();
        let zones = hints.and_then(|hints| hints.for_zones.as_ref());
        let nodes = hints.and_then(|hints| hints.for_nodes.as_ref());
        Endpoint {
            addresses: endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect(),
            hostname: endpoint.hostname.clone(),
            node: endpoint.node_name.clone(),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            for_zones: zones.into_iter().flatten().map(|zone| zone.name.clone()).collect(),
            for_nodes: nodes.into_iter().flatten().map(|node| node.name.clone()).collect(),
        }
    });
    Some(Back {
        service: ObjectKey::namespaced(slice.metadata.namespace.clone().unwrap_or_default(), service.clone()),
        ports: ports.collect(),
        endpoints: endpoints.collect(),
    })
}

pub(super) fn protocol(name: Option<&str>) -> Option<network::Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(network::Protocol::Tcp),
        "UDP" => Some(network::Protocol::Udp),
        "SCTP" => Some(network::Protocol::Sctp),
        _ => None,
    }
}
