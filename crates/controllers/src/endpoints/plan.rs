//! The endpoint slices and the Endpoints object that a service should have. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::world::{Pod, Service};

/// How many endpoints one slice holds.
const SLICE: usize = 100;
/// How many addresses an Endpoints object holds.
const ENDPOINTS: usize = 1000;

/// What one slice holds; the order is settled, so that equal contents are equal values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) family: &'static str,
    pub(crate) ports: Vec<Value>,
    pub(crate) endpoints: Vec<Value>,
}

/// The slices by address family and by the numbers that the service's ports have at the pods.
pub(crate) fn slices(service: &Service, pods: &[Arc<Pod>], zones: &dyn Fn(&str) -> Option<String>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let families = if service.families.is_empty() {
        vec!["IPv4".to_owned()]
    } else {
        service.families.clone()
    };
    for family in ["IPv4", "IPv6"]
        .into_iter()
        .filter(|family| families.iter().any(|known| known == family))
    {
        let mut groups: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
        for pod in by_name(pods) {
            let Some(address) = address(pod, family) else { continue };
            if pod.has_ended() && pod.deleting || pod.has_ended() {
                continue;
            }
            let ports = ports(service, pod);
            let group = groups
                .entry(Value::Array(ports.clone()).to_string())
                .or_insert_with(|| (ports, Vec::new()));
            group.1.push(endpoint(service, pod, address, zones));
        }
        // A service keeps one slice, also when it has no pods.
        if groups.is_empty() {
            groups.insert(String::new(), (Vec::new(), Vec::new()));
        }
        for (ports, endpoints) in groups.into_values() {
            if endpoints.is_empty() {
                wanted.push(Wanted {
                    family,
                    ports,
                    endpoints,
                });
                continue;
            }
            let chunks = endpoints.chunks(SLICE);
            wanted.extend(chunks.map(|part| Wanted {
                family,
                ports: ports.clone(),
                endpoints: part.to_vec(),
            }));
        }
    }
    wanted
}

/// The subsets of the older Endpoints object: the first address family, ready and not ready addresses by ports.
pub(crate) fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<Value> {
    let family = service.families.first().map_or("IPv4", String::as_str);
    /// Ready addresses, the others, and the ports that both have.
    type Group = (Vec<Value>, Vec<Value>, Vec<Value>);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut left = ENDPOINTS;
    for pod in by_name(pods) {
        let Some(address) = address(pod, family).filter(|_| left > 0) else {
            continue;
        };
        if pod.has_ended() || pod.deleting && !service.publish_not_ready {
            continue;
        }
        left -= 1;
        let ports: Vec<Value> = ports(service, pod).into_iter().map(without_default_name).collect();
        if ports.is_empty() && !service.headless {
            continue;
        }
        let mut entry = json!({ "ip": address, "nodeName": pod.node, "targetRef": target(pod) });
        if let Some(hostname) = published_name(service, pod) {
            entry["hostname"] = hostname.into();
        }
        let group = groups
            .entry(Value::Array(ports.clone()).to_string())
            .or_insert_with(|| (ports, vec![], vec![]));
        let ready = pod.ready.is_some() || service.publish_not_ready;
        if ready {
            group.1.push(entry)
        } else {
            group.2.push(entry)
        }
    }
    let subset = |(ports, ready, not_ready): (Vec<Value>, Vec<Value>, Vec<Value>)| {
        let mut subset = Map::new();
        for (name, list) in [("addresses", ready), ("notReadyAddresses", not_ready), ("ports", ports)] {
            if !list.is_empty() {
                subset.insert(name.into(), list.into());
            }
        }
        Value::Object(subset)
    };
    groups.into_values().map(subset).collect()
}

fn by_name(pods: &[Arc<Pod>]) -> Vec<&Arc<Pod>> {
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by(|one, other| one.key.name.cmp(&other.key.name));
    pods
}

fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    pod.addresses
        .iter()
        .map(String::as_str)
        .find(|address| address.contains(':') == (family == "IPv6"))
}

/// The service's ports with the numbers that this pod has for them; ports that it doesn't have are left out.
fn ports(service: &Service, pod: &Pod) -> Vec<Value> {
    let resolve = |port: &k8s_openapi::api::core::v1::ServicePort| {
        use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let number = match &port.target_port {
            Some(IntOrString::Int(number)) if *number != 0 => *number,
            Some(IntOrString::String(name)) => {
                pod.ports
                    .iter()
                    .find(|(known, _, kind)| known == name && kind == protocol)?
                    .1
            }
            _ => port.port,
        };
        let mut value = json!({
            "name": port.name.as_deref().unwrap_or_default(), "port": number, "protocol": protocol,
        });
        if let Some(app) = &port.app_protocol {
            value["appProtocol"] = app.as_str().into();
        }
        Some(value)
    };
    service.ports.iter().filter_map(resolve).collect()
}

fn without_default_name(mut port: Value) -> Value {
    if port["name"] == ""
        && let Some(fields) = port.as_object_mut()
    {
        fields.remove("name");
    }
    port
}

fn endpoint(service: &Service, pod: &Pod, address: &str, zones: &dyn Fn(&str) -> Option<String>) -> Value {
    let serving = pod.ready.is_some();
    let ready = service.publish_not_ready || serving && !pod.deleting;
    let mut value = json!({
        "addresses": [address],
        "conditions": {
            "ready": ready,
            "serving": serving,
            "terminating": pod.deleting,
        },
        "targetRef": target(pod),
    });
    if let Some(node) = &pod.node {
        value["nodeName"] = node.as_str().into();
        let zone = zones(node);
        if let Some(hints) = hints(service, node, zone.as_deref()).filter(|_| ready) {
            value["hints"] = hints;
        }
        if let Some(zone) = zone {
            value["zone"] = zone.into();
        }
    }
    if let Some(hostname) = published_name(service, pod) {
        value["hostname"] = hostname.into();
    }
    value
}

/// Whose traffic an endpoint should rather have: that of its own zone, or node, where the service says so.
fn hints(service: &Service, node: &str, zone: Option<&str>) -> Option<Value> {
    let distribution = service.distribution.as_deref()?;
    let mut hints = Map::new();
    if let Some(zone) = zone.filter(|_| matches!(distribution, "PreferClose" | "PreferSameZone" | "PreferSameNode")) {
        hints.insert("forZones".into(), json!([{ "name": zone }]));
    }
    if distribution == "PreferSameNode" {
        hints.insert("forNodes".into(), json!([{ "name": node }]));
    }
    (!hints.is_empty()).then_some(Value::Object(hints))
}

/// A pod that names the service as its subdomain has a DNS name of its own.
fn published_name<'a>(service: &Service, pod: &'a Pod) -> Option<&'a str> {
    pod.hostname
        .as_deref()
        .filter(|_| pod.subdomain.as_deref() == Some(service.key.name.as_str()))
}

fn target(pod: &Pod) -> Value {
    json!({ "kind": "Pod", "namespace": pod.key.namespace, "name": pod.key.name, "uid": pod.uid })
}
