//! The slices that mirror the subsets of Endpoints. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};

/// So many addresses of a subset are mirrored.
const MOST: usize = 1000;

/// What one slice holds; the order is settled, so that equal contents are equal values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) family: &'static str,
    pub(super) ports: Vec<Value>,
    pub(super) endpoints: Vec<Value>,
}

/// The ports of a slice, and its endpoints by address.
type Group = (Vec<Value>, BTreeMap<IpAddr, Value>);

/// A slice for each set of ports and address family. What is no IP address isn't mirrored.
pub(super) fn slices(subsets: &[core::EndpointSubset]) -> Vec<Wanted> {
    let mut groups: BTreeMap<(String, &'static str), Group> = BTreeMap::new();
    for subset in subsets {
        let mut ports: Vec<Value> = subset.ports.iter().flatten().map(port).collect();
        ports.sort_by_key(Value::to_string);
        let key = Value::Array(ports.clone()).to_string();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let others = subset
            .not_ready_addresses
            .iter()
            .flatten()
            .map(|address| (address, false));
        for (address, is_ready) in ready.chain(others).take(MOST) {
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let group = groups
                .entry((key.clone(), family))
                .or_insert_with(|| (ports.clone(), BTreeMap::new()));
            group.1.entry(ip).or_insert_with(|| endpoint(address, ip, is_ready));
        }
    }
    let wanted = groups.into_iter().map(|((_, family), (ports, endpoints))| Wanted {
        family,
        ports,
        endpoints: endpoints.into_values().collect(),
    });
    wanted.collect()
}

fn port(port: &core::EndpointPort) -> Value {
    let mut told = json!({
        "name": port.name.clone().unwrap_or_default(),
        "port": port.port,
        "protocol": port.protocol.as_deref().unwrap_or("TCP"),
    });
    if let Some(protocol) = &port.app_protocol {
        told["appProtocol"] = protocol.as_str().into();
    }
    told
}

fn endpoint(address: &core::EndpointAddress, ip: IpAddr, is_ready: bool) -> Value {
    let mut told = json!({"addresses": [ip.to_string()], "conditions": {"ready": is_ready}});
    if let Some(node) = &address.node_name {
        told["nodeName"] = node.as_str().into();
    }
    if let Some(hostname) = address.hostname.as_ref().filter(|name| !name.is_empty()) {
        told["hostname"] = hostname.as_str().into();
    }
    if let Some(target) = &address.target_ref {
        told["targetRef"] = json!(target);
    }
    told
}
