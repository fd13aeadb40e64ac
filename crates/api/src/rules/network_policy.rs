//! NetworkPolicies.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, strategy};

/// The rules of `networking.k8s.io` `networkpolicies`.
pub(crate) struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        if spec.list("policyTypes").is_empty() {
            let egress = !spec.list("egress").is_empty();
            spec.set(
                "policyTypes",
                if egress {
                    json!(["Ingress", "Egress"])
                } else {
                    json!(["Ingress"])
                },
            );
        }
        spec.object("podSelector");
        for direction in ["ingress", "egress"] {
            for rule in spec.each(direction) {
                for port in rule.each("ports") {
                    port.or("protocol", "TCP");
                }
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::count_generation(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("Pod-Selector", "The pods that it holds for."), age::AGE];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let selector = column::selector(object.at("spec").at("podSelector"));
        vec![column::name(object), selector.into(), age::cell(object, now)]
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    errors.selector(&at.child("podSelector"), spec.at("podSelector"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let at = at.child(direction);
        for (index, rule) in spec.list(direction).iter().enumerate() {
            let at = at.index(index);
            let at_ports = at.child("ports");
            for (index, one) in rule.list("ports").iter().enumerate() {
                port(one, &at_ports.index(index), errors);
            }
            let at_peers = at.child(peers);
            for (index, one) in rule.list(peers).iter().enumerate() {
                peer(one, &at_peers.index(index), errors);
            }
        }
    }
    let types = spec.list("policyTypes");
    let at = at.child("policyTypes");
    if types.len() > 2 {
        errors.invalid(
            &at,
            spec.at("policyTypes").clone(),
            "may not specify more than two policyTypes",
        );
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        errors.one_of(
            &at.index(index),
            kind.as_str().unwrap_or_default(),
            &["Ingress", "Egress"],
        );
    }
}

fn port(port: &Value, at: &Path<'_>, errors: &mut Errors) {
    if port.has("protocol") {
        errors.one_of(&at.child("protocol"), port.text("protocol"), &["TCP", "UDP", "SCTP"]);
    }
    let (at_port, at_end) = (at.child("port"), at.child("endPort"));
    let end = port.int("endPort");
    match port.at("port") {
        Value::Null => {
            if let Some(end) = end {
                errors.invalid(&at_end, end, "may not be specified when `port` is not specified");
            }
        }
        Value::String(name) => {
            if let Some(end) = end {
                errors.invalid(&at_end, end, "may not be specified when `port` is non-numeric");
            }
            errors.form(&at_port, name, form::port_name);
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            errors.port(&at_port, number);
            if let Some(end) = end {
                if end < number {
                    errors.invalid(&at_end, end, "must be greater than or equal to `port`");
                }
                errors.port(&at_end, end);
            }
        }
    }
}

fn peer(peer: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut count = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if peer.has(name) {
            count += 1;
            errors.selector(&at.child(name), peer.at(name));
        }
    }
    let block = peer.at("ipBlock");
    if !block.is_null() {
        count += 1;
        let at = at.child("ipBlock");
        errors.required_form(&at.child("cidr"), block.text("cidr"), form::cidr);
        if form::cidr(block.text("cidr")).is_empty() {
            let except = at.child("except");
            for (index, inner) in block.list("except").iter().enumerate() {
                let (inner, at) = (inner.as_str().unwrap_or_default(), except.index(index));
                errors.form(&at, inner, form::cidr);
                if form::cidr(inner).is_empty() && !form::is_strictly_inside(inner, block.text("cidr")) {
                    errors.invalid(&at, inner, "must be a strict subset of `cidr`");
                }
            }
        }
    }
    if count == 0 {
        errors.required(at, "must specify a peer");
    } else if count > 1 && !block.is_null() {
        errors.forbidden(at, "may not specify both ipBlock and another peer");
    }
}
