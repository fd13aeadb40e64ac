//! Endpoints and EndpointSlices: where a service's traffic goes.

use std::net::IpAddr;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, first_of, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, form, metadata, strategy};

/// The rules of `endpoints`.
pub(crate) struct Endpoints;
/// The rules of `discovery.k8s.io` `endpointslices`.
pub(crate) struct EndpointSlice;

impl Rules for Endpoints {
    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn default(&self, object: &mut Value) {
        for subset in object.each("subsets") {
            for port in subset.each("ports") {
                port.or_text("protocol", "TCP");
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        subsets(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        subsets(object, &mut errors);
        errors.0
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Endpoints", "Addresses and ports that are ready."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![column::name(object), listed(object).into(), age::cell(object, now)]
    }
}

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value) {
        for port in object.each("ports") {
            port.or("name", "");
            port.or("protocol", "TCP");
        }
        for endpoint in object.each("endpoints") {
            endpoint.object("conditions");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        let unchanged = ["endpoints", "ports", "addressType"]
            .iter()
            .all(|name| same(object.at(name), old.at(name)));
        let (new, before) = (object.at("metadata"), old.at("metadata"));
        let unchanged = unchanged && same(new.at("labels"), before.at("labels"));
        let generation = before.int("generation").unwrap_or(0);
        strategy::set_generation(object, if unchanged { generation } else { generation + 1 });
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        slice(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        slice(object, &mut errors);
        metadata::update(object, old, &mut errors);
        errors.fixed(
            &Path::new("addressType"),
            object.at("addressType"),
            old.at("addressType"),
        );
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("AddressType", "The family of the addresses."),
            text("Ports", "The ports that every endpoint serves."),
            text("Endpoints", "The addresses."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let port = |port: &Value| match (port.int("port"), port.has("name")) {
            (Some(number), _) => number.to_string(),
            (None, true) => port.text("name").to_owned(),
            (None, false) => "*".to_owned(),
        };
        let ports: Vec<String> = object.list("ports").iter().map(port).collect();
        let endpoints = object
            .list("endpoints")
            .iter()
            .flat_map(|endpoint| endpoint.list("addresses"));
        let addresses: Vec<String> = endpoints.filter_map(Value::as_str).map(str::to_owned).collect();
        vec![
            column::name(object),
            object.text("addressType").into(),
            first_of(&ports, 3).into(),
            first_of(&addresses, 3).into(),
            age::cell(object, now),
        ]
    }
}

fn listed(object: &Value) -> String {
    let subsets = object.list("subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all: Vec<String> = Vec::new();
    for subset in subsets {
        let addresses = subset.list("addresses");
        if subset.list("ports").is_empty() {
            all.extend(addresses.iter().map(|address| address.text("ip").to_owned()));
        }
        for port in subset.list("ports") {
            let number = port.int("port").unwrap_or(0);
            all.extend(addresses.iter().map(|address| match address.text("ip") {
                ip if ip.contains(':') => format!("[{ip}]:{number}"),
                ip => format!("{ip}:{number}"),
            }));
        }
    }
    if all.is_empty() {
        String::new()
    } else {
        first_of(&all, 3)
    }
}

fn subsets(object: &Value, errors: &mut Errors) {
    let root = Path::new("subsets");
    for (index, subset) in object.list("subsets").iter().enumerate() {
        let at = root.index(index);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for name in ["addresses", "notReadyAddresses"] {
            let at = at.child(name);
            for (index, address) in subset.list(name).iter().enumerate() {
                let at = at.index(index);
                let ip = address.text("ip");
                let reasons = form::ip(ip);
                if reasons.is_empty() {
                    usable_address(ip, &at.child("ip"), errors);
                } else {
                    errors.invalid(&at.child("ip"), ip, "must be a valid IP address");
                }
                errors.invalid_each(&at.child("ip"), ip, reasons);
                if !address.lacks("hostname") {
                    errors.form(&at.child("hostname"), address.text("hostname"), form::dns_label);
                }
                if !address.lacks("nodeName") {
                    errors.form(&at.child("nodeName"), address.text("nodeName"), form::dns_subdomain);
                }
            }
        }
        let ports = subset.list("ports");
        let at = at.child("ports");
        for (index, port) in ports.iter().enumerate() {
            let at = at.index(index);
            if ports.len() > 1 && port.lacks("name") {
                errors.required(&at.child("name"), "");
            } else if !port.lacks("name") {
                errors.form(&at.child("name"), port.text("name"), form::dns_label);
            }
            errors.port(&at.child("port"), port.int("port").unwrap_or(0));
            match port.text("protocol") {
                "" => errors.required(&at.child("protocol"), ""),
                protocol => errors.one_of(&at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]),
            }
            if port.has("appProtocol") {
                errors.form(&at.child("appProtocol"), port.text("appProtocol"), form::qualified_name);
            }
        }
    }
}

/// An address that traffic can be sent to: not the machine itself, not a group, not nothing.
pub(crate) fn usable_address(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let Ok(ip) = text.parse::<IpAddr>() else { return };
    if ip.is_unspecified() {
        errors.invalid(at, text, &format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        errors.invalid(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local {
        errors.invalid(
            at,
            text,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
    }
    let group = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    if group {
        errors.invalid(
            at,
            text,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}

fn slice(object: &Value, errors: &mut Errors) {
    let kind = object.text("addressType");
    match kind {
        "" => errors.required(&Path::new("addressType"), ""),
        _ => errors.one_of(&Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]),
    }
    let endpoints = object.list("endpoints");
    let root = Path::new("endpoints");
    if endpoints.len() > 1000 {
        errors.too_many(&root, endpoints.len(), 1000);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        slice_endpoint(kind, endpoint, &root.index(index), errors);
    }
    slice_ports(object.list("ports"), errors);
}

fn slice_endpoint(kind: &str, endpoint: &Value, at: &Path<'_>, errors: &mut Errors) {
    let addresses = endpoint.list("addresses");
    let at_addresses = at.child("addresses");
    if addresses.is_empty() {
        errors.required(&at_addresses, "");
    } else if addresses.len() > 100 {
        errors.too_many(&at_addresses, addresses.len(), 100);
    }
    for (index, address) in addresses.iter().enumerate() {
        let (at, text) = (at_addresses.index(index), address.as_str().unwrap_or_default());
        match kind {
            "IPv4" | "IPv6" => {
                let fits = match text.parse::<IpAddr>() {
                    Ok(ip) => ip.is_ipv4() == (kind == "IPv4"),
                    Err(_) => false,
                };
                if fits {
                    usable_address(text, &at, errors);
                } else if form::ip(text).is_empty() {
                    errors.invalid(&at_addresses, text, &format!("must be an {kind} address"));
                } else {
                    errors.form(&at, text, form::ip);
                }
            }
            "FQDN" => errors.form(&at, text, form::dns_subdomain),
            _ => {}
        }
    }
    if endpoint.has("nodeName") {
        errors.form(&at.child("nodeName"), endpoint.text("nodeName"), form::dns_subdomain);
    }
    if endpoint.has("hostname") {
        errors.form(&at.child("hostname"), endpoint.text("hostname"), form::dns_label);
    }
    let topology = at.child("deprecatedTopology");
    errors.labels(&topology, endpoint.at("deprecatedTopology"));
    if endpoint
        .at("deprecatedTopology")
        .get("kubernetes.io/hostname")
        .is_some()
    {
        errors.invalid(
            &topology.key("kubernetes.io/hostname"),
            "kubernetes.io/hostname",
            "may not be set",
        );
    }
}

fn slice_ports(ports: &[Value], errors: &mut Errors) {
    let root = Path::new("ports");
    if ports.len() > 20_000 {
        errors.too_many(&root, ports.len(), 20_000);
        return;
    }
    for (index, port) in ports.iter().enumerate() {
        let at = root.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            errors.form(&at.child("name"), name, form::dns_label);
        }
        if ports[..index].iter().any(|earlier| earlier.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        }
        match port.text("protocol") {
            "" => errors.required(&at.child("protocol"), ""),
            protocol => errors.one_of(&at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]),
        }
        if port.has("appProtocol") {
            errors.form(&at.child("appProtocol"), port.text("appProtocol"), form::qualified_name);
        }
    }
}
