//! Addresses and ports of Services: reserved in the transaction that writes the Service, so that none is given twice
//! and none is lost, also when the server dies in between.

use std::collections::HashSet;
use std::net::IpAddr;

use bytes::Bytes;
use meta::{FieldError, Status};
use rand::RngExt as _;
use serde_json::{Value, json};
use store::Key;
use watch::Scope;

use crate::config::nth_address;
use crate::core::Core;
use crate::kinds::Kind;
use crate::object;
use crate::rest::commit::Extra;

/// Reservations of node ports; they are no API objects.
const PORTS: &str = "/gantry/node-ports/";
/// Addresses that are asked for by name only are in the lower part of the range.
const RESERVED: u32 = 256;

/// Gives a new Service what it needs.
pub(crate) fn for_create(core: &Core, kind: &Kind, object: &mut Value) -> Result<Extra, Status> {
    let mut extra = Extra::default();
    if kind.resource.group.is_empty() && kind.resource.resource == "services" {
        address(core, kind, object, None, &mut extra)?;
        ports(core, kind, object, None, &mut extra)?;
    }
    Ok(extra)
}

/// Gives a changed Service what it needs more, and takes back what it needs no longer.
pub(crate) fn for_update(core: &Core, kind: &Kind, object: &mut Value, old: &Value) -> Result<Extra, Status> {
    let mut extra = Extra::default();
    if kind.resource.group.is_empty() && kind.resource.resource == "services" {
        address(core, kind, object, Some(old), &mut extra)?;
        ports(core, kind, object, Some(old), &mut extra)?;
    }
    Ok(extra)
}

/// Takes back what a deleted Service had.
pub(crate) fn for_delete(core: &Core, kind: &Kind, object: &Value) -> Extra {
    let mut extra = Extra::default();
    if kind.resource.group.is_empty() && kind.resource.resource == "services" {
        if let Some(key) = cluster_ip(object).and_then(|ip| address_key(core, ip)) {
            extra.release(key);
        }
        node_ports(object)
            .into_iter()
            .for_each(|port| extra.release(port_key(&port)));
    }
    extra
}

/// What a Service says of its addresses in two places is brought together before it is validated, and what a changed one
/// leaves out is taken from the stored one.
pub(crate) fn normalize(core: &Core, kind: &Kind, service: &mut Value, old: Option<&Value>) {
    if !(kind.resource.group.is_empty() && kind.resource.resource == "services") {
        return;
    }
    if let Some(old) = old {
        keep_allocated(service, old);
    }
    let ip = object::text(service, &["spec", "clusterIP"]).to_owned();
    let external = object::text(service, &["spec", "type"]) == "ExternalName";
    if external {
        return;
    }
    if !ip.is_empty() && service["spec"]["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
        service["spec"]["clusterIPs"] = json!([ip]);
    }
    if service["spec"].get("ipFamilyPolicy").is_none_or(Value::is_null) {
        service["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    }
    if service["spec"]["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
        let family = if core.config.service_cidr.network().is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        };
        service["spec"]["ipFamilies"] = json!([family]);
    }
    choose_health_check_port(core, service);
}

/// Validation asks for the port of the health check, so it is chosen before; it is claimed with the node ports.
fn choose_health_check_port(core: &Core, service: &mut Value) {
    if !needs_health_check(service) || service["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0) != 0 {
        return;
    }
    let (taken, own) = (taken_ports(core, service), node_ports(service));
    let (first, last) = core.config.node_ports;
    let free = free_port(first, last, |number| {
        let full = format!("{number}-TCP");
        taken.contains(&full) || own.contains(&full)
    });
    if let Some(number) = free {
        service["spec"]["healthCheckNodePort"] = number.into();
    }
}

fn keep_allocated(service: &mut Value, old: &Value) {
    let has_address = |service: &Value| object::text(service, &["spec", "type"]) != "ExternalName";
    if has_address(service) && has_address(old) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let empty = service["spec"].get(field).is_none_or(|value| match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                other => other.is_null(),
            });
            if let Some(value) = old["spec"].get(field).filter(|_| empty) {
                service["spec"][field] = value.clone();
            }
        }
    }
    let no_check = service["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0) == 0;
    if needs_health_check(service) && needs_health_check(old) && no_check {
        service["spec"]["healthCheckNodePort"] = old["spec"]["healthCheckNodePort"].clone();
    }
    if !(has_node_ports(service) && has_node_ports(old)) {
        return;
    }
    let same = |a: &Value, b: &Value| a["port"] == b["port"] && a["protocol"] == b["protocol"];
    for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let before = old["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|before| same(port, before));
        let Some(number) = before
            .and_then(|before| before["nodePort"].as_i64())
            .filter(|number| *number > 0)
        else {
            continue;
        };
        if port["nodePort"].as_i64().unwrap_or(0) == 0 {
            port["nodePort"] = number.into();
        }
    }
}

fn cluster_ip(service: &Value) -> Option<IpAddr> {
    object::text(service, &["spec", "clusterIP"]).parse().ok()
}

fn wants_address(service: &Value) -> bool {
    object::text(service, &["spec", "type"]) != "ExternalName"
        && object::text(service, &["spec", "clusterIP"]) != "None"
}

fn address_key(core: &Core, ip: IpAddr) -> Option<Key> {
    Some(
        core.kinds
            .any("networking.k8s.io", "ipaddresses")?
            .key(None, &ip.to_string()),
    )
}

fn address(
    core: &Core,
    kind: &Kind,
    service: &mut Value,
    old: Option<&Value>,
    extra: &mut Extra,
) -> Result<(), Status> {
    let before = old.and_then(cluster_ip);
    if !wants_address(service) {
        if let Some(key) = before.and_then(|ip| address_key(core, ip)) {
            extra.release(key);
        }
        return Ok(());
    }
    let wanted = cluster_ip(service);
    if wanted.is_some() && wanted == before {
        return Ok(());
    }
    let refuse = |value: &str, why: String| {
        let error = FieldError::invalid("spec.clusterIPs", json!([value]), why);
        Status::invalid(&kind.group_kind, object::name(service), &[error])
    };
    let ip = match wanted {
        Some(ip) => {
            if !core.config.service_cidr.contains(&ip) {
                let why = "failed to allocate IP %: the provided network does not match the current range";
                return Err(refuse(&ip.to_string(), why.replace('%', &ip.to_string())));
            }
            if is_taken(core, ip) {
                let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
                return Err(refuse(&ip.to_string(), why));
            }
            ip
        }
        None => {
            free_address(core).ok_or_else(|| refuse("", "failed to allocate a serviceIP: range is full".to_owned()))?
        }
    };
    if let Some(key) = before.and_then(|ip| address_key(core, ip)) {
        extra.release(key);
    }
    service["spec"]["clusterIP"] = ip.to_string().into();
    service["spec"]["clusterIPs"] = json!([ip.to_string()]);
    if let Some(key) = address_key(core, ip) {
        extra.claim(key, address_object(ip, service)?);
    }
    Ok(())
}

fn is_taken(core: &Core, ip: IpAddr) -> bool {
    let Some(kind) = core.kinds.any("networking.k8s.io", "ipaddresses") else {
        return false;
    };
    kind.cache()
        .is_ok_and(|cache| cache.get(&kind.key(None, &ip.to_string())).is_some())
}

/// A random address that is not taken, from the upper part of the range while there is one.
fn free_address(core: &Core) -> Option<IpAddr> {
    let net = core.config.service_cidr;
    let bits = net.max_prefix_len() - net.prefix_len();
    let size = 1u32.checked_shl(u32::from(bits.min(20)))?;
    let lower = RESERVED.min((size / 16).max(16)).min(size / 2);
    let last = size.saturating_sub(2);
    let mut random = rand::rng();
    for (from, to) in [(lower, last), (11.min(last), lower)] {
        if from >= to {
            continue;
        }
        let start = random.random_range(from..=to);
        let candidates = (start..=to).chain(from..start);
        let free = candidates
            .filter_map(|n| nth_address(net, n))
            .find(|ip| !is_taken(core, *ip));
        if free.is_some() {
            return free;
        }
    }
    None
}

/// The IPAddress object of a Service's address, in its stored form.
fn address_object(ip: IpAddr, service: &Value) -> Result<Bytes, Status> {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    object::to_stored(&json!({
        "metadata": {
            "name": ip.to_string(), "uid": meta::Uid::random().to_string(), "creationTimestamp": meta::time::now(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services",
            "namespace": object::namespace(service), "name": object::name(service),
        }},
    }))
}

fn has_node_ports(service: &Value) -> bool {
    match object::text(service, &["spec", "type"]) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// A Service whose balancer asks each node whether it has endpoints.
fn needs_health_check(service: &Value) -> bool {
    object::text(service, &["spec", "type"]) == "LoadBalancer"
        && object::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// The node ports of a Service, each once with its protocol, and that of its health check.
fn node_ports(service: &Value) -> Vec<String> {
    let check = service["spec"]["healthCheckNodePort"].as_i64();
    let check = check.filter(|number| *number > 0 && needs_health_check(service));
    let mut out: Vec<String> = check.map(|number| format!("{number}-TCP")).into_iter().collect();
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        if let Some(number) = port["nodePort"].as_i64().filter(|number| *number > 0) {
            let name = format!("{number}-{}", port["protocol"].as_str().unwrap_or("TCP"));
            if !out.contains(&name) {
                out.push(name);
            }
        }
    }
    out
}

fn port_key(port: &str) -> Key {
    Key::from(format!("{PORTS}{port}"))
}

fn ports(core: &Core, kind: &Kind, service: &mut Value, old: Option<&Value>, extra: &mut Extra) -> Result<(), Status> {
    let before: Vec<String> = old.map(node_ports).unwrap_or_default();
    let taken = taken_ports(core, service);
    let (first, last) = core.config.node_ports;
    let allocate = has_node_ports(service);
    let name = object::name(service).to_owned();
    let mut new: HashSet<u16> = HashSet::new();
    let check = service["spec"]["healthCheckNodePort"].as_i64();
    for (index, port) in service["spec"]["ports"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let given = port["nodePort"].as_i64().filter(|number| *number > 0);
        let path = format!("spec.ports[{index}].nodePort");
        let refuse = |why: &str| {
            let error = FieldError::invalid(&path, given.unwrap_or(0), why);
            Err(Status::invalid(&kind.group_kind, &name, &[error]))
        };
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        match given {
            Some(number) => {
                let full = format!("{number}-{protocol}");
                let inside = u16::try_from(number).is_ok_and(|number| (first..=last).contains(&number));
                if !inside && !before.contains(&full) {
                    return refuse(&format!(
                        "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                    ));
                }
                if taken.contains(&full) {
                    return refuse("provided port is already allocated");
                }
            }
            None if allocate => {
                let free = free_port(first, last, |number| {
                    taken.contains(&format!("{number}-{protocol}"))
                        || new.contains(&number)
                        || check == Some(i64::from(number))
                });
                let Some(number) = free else {
                    return refuse("failed to allocate a nodePort: range is full");
                };
                new.insert(number);
                port["nodePort"] = number.into();
            }
            None => {}
        }
    }
    let is_taken = |number| taken.contains(&format!("{number}-TCP")) || new.contains(&number);
    health_check_port(core, kind, service, &before, &is_taken)?;
    let after = node_ports(service);
    for port in after.iter().filter(|port| !before.contains(port)) {
        extra.claim(
            port_key(port),
            Bytes::from(format!("{}/{name}", object::namespace(service))),
        );
    }
    before
        .iter()
        .filter(|port| !after.contains(port))
        .for_each(|port| extra.release(port_key(port)));
    Ok(())
}

/// The port of the health check is one of the range of node ports too.
fn health_check_port(
    core: &Core,
    kind: &Kind,
    service: &mut Value,
    before: &[String],
    is_taken: &dyn Fn(u16) -> bool,
) -> Result<(), Status> {
    if !needs_health_check(service) {
        return Ok(());
    }
    let (first, last) = core.config.node_ports;
    let given = service["spec"]["healthCheckNodePort"]
        .as_i64()
        .filter(|number| *number > 0);
    let refuse = |why: &str| {
        let error = FieldError::invalid("spec.healthCheckNodePort", given.unwrap_or(0), why);
        Err(Status::invalid(&kind.group_kind, object::name(service), &[error]))
    };
    let Some(number) = given else {
        let Some(number) = free_port(first, last, is_taken) else {
            return refuse("failed to allocate a HealthCheck NodePort: range is full");
        };
        service["spec"]["healthCheckNodePort"] = number.into();
        return Ok(());
    };
    let inside = u16::try_from(number)
        .ok()
        .filter(|number| (first..=last).contains(number));
    match inside {
        _ if before.contains(&format!("{number}-TCP")) => Ok(()),
        None => refuse(&format!(
            "provided port is not in the valid range. The range of valid ports is {first}-{last}"
        )),
        Some(number) if is_taken(number) => refuse("provided port is already allocated"),
        Some(_) => Ok(()),
    }
}

fn free_port(first: u16, last: u16, is_taken: impl Fn(u16) -> bool) -> Option<u16> {
    let start = rand::rng().random_range(first..=last);
    (start..=last).chain(first..start).find(|port| !is_taken(*port))
}

/// The node ports of all other Services, as the cache knows them; the transaction has the last word.
fn taken_ports(core: &Core, own: &Value) -> HashSet<String> {
    let Some(kind) = core.kinds.any("", "services") else {
        return HashSet::new();
    };
    let Ok(cache) = kind.cache() else { return HashSet::new() };
    let own = kind.key(Some(object::namespace(own)), object::name(own));
    let snapshot = cache.list(&Scope::All);
    let others = snapshot.iter().filter(|version| *version.key() != own);
    others
        .filter_map(|version| serde_json::from_slice::<Value>(version.bytes()).ok())
        .flat_map(|service| node_ports(&service))
        .collect()
}
