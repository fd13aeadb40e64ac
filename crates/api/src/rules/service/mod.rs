//! Services. Addresses and ports are allocated elsewhere; here is what must hold before and after.

mod validate;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text, texts, wide};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, metadata, strategy};

/// The rules of `services`.
pub(crate) struct Service;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Type", "How far the service can be reached."),
    text("Cluster-IP", "The service's address inside the cluster."),
    text("External-IP", "The addresses outside of the cluster."),
    text(
        "Port(s)",
        "The ports and protocols, with the node port after the colon.",
    ),
    age::AGE,
    wide("Selector", "The labels of the pods that serve."),
];

impl Rules for Service {
    fn default(&self, object: &mut Value) {
        default_spec(object.object("spec"));
        let balanced = object.at("spec").text("type") == "LoadBalancer";
        let status = object.object("status").object("loadBalancer");
        if balanced {
            for ingress in status.each("ingress") {
                if !ingress.lacks("ip") {
                    ingress.or("ipMode", "VIP");
                }
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set("status", json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
        drop_what_the_type_lacks(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::label, &mut errors);
        validate::spec(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let (new, before) = (object.at("spec"), old.at("spec"));
        validate::addresses_stay(new, before, &mut errors);
        validate::load_balancer_class(new, Some(before), &mut errors);
        if needs_health_check(new)
            && needs_health_check(before)
            && new.int("healthCheckNodePort") != before.int("healthCheckNodePort")
        {
            errors.forbidden(&Path::new("spec.healthCheckNodePort"), "field is immutable");
        }
        validate::spec(object, &mut errors);
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"]
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let address = spec
            .list("clusterIPs")
            .first()
            .and_then(Value::as_str)
            .unwrap_or("<none>");
        vec![
            column::name(object),
            spec.text("type").into(),
            address.into(),
            outside(object).into(),
            ports(spec.list("ports")).into(),
            age::cell(object, now),
            column::labels(spec.at("selector")).into(),
        ]
    }
}

fn default_spec(spec: &mut Value) {
    spec.or_text("sessionAffinity", "None");
    if spec.text("sessionAffinity") == "None" {
        spec.drop("sessionAffinityConfig");
    } else if spec.text("sessionAffinity") == "ClientIP"
        && !spec.at("sessionAffinityConfig").at("clientIP").has("timeoutSeconds")
    {
        spec.set("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    spec.or_text("type", "ClusterIP");
    for port in spec.each("ports") {
        port.or_text("protocol", "TCP");
        let unset = match port.at("targetPort") {
            Value::Null => true,
            Value::String(name) => name.is_empty(),
            other => other.as_i64() == Some(0),
        };
        if unset {
            let number = port.int("port").unwrap_or(0);
            port.set("targetPort", number);
        }
    }
    if reaches_outside(spec) {
        spec.or_text("externalTrafficPolicy", "Cluster");
    }
    if matches!(spec.text("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        spec.or("internalTrafficPolicy", "Cluster");
    }
    if spec.text("type") == "LoadBalancer" {
        spec.or("allocateLoadBalancerNodePorts", true);
    }
}

fn reaches_outside(spec: &Value) -> bool {
    match spec.text("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.list("externalIPs").is_empty(),
        _ => false,
    }
}

fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

fn has_node_ports(spec: &Value) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer")
}

/// What a service had only because of its old type goes with the type, unless the client changed it too.
fn drop_what_the_type_lacks(object: &mut Value, old: &Value) {
    let before = old.at("spec");
    let spec = object.object("spec");
    let unchanged = |spec: &Value, name: &str| same(spec.at(name), before.at(name));
    if spec.text("type") == "ExternalName" && before.text("type") != "ExternalName" {
        if unchanged(spec, "clusterIP") && unchanged(spec, "clusterIPs") {
            spec.drop("clusterIP");
            spec.drop("clusterIPs");
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if unchanged(spec, name) {
                spec.drop(name);
            }
        }
    }
    if has_node_ports(before) && !has_node_ports(spec) {
        let old_ports: Vec<i64> = before
            .list("ports")
            .iter()
            .filter_map(|port| port.int("nodePort"))
            .collect();
        let all_old = spec
            .list("ports")
            .iter()
            .filter_map(|port| port.int("nodePort"))
            .all(|p| old_ports.contains(&p));
        if all_old {
            for port in spec.each("ports") {
                port.drop("nodePort");
            }
        }
    }
    if needs_health_check(before) && !needs_health_check(spec) && unchanged(spec, "healthCheckNodePort") {
        spec.drop("healthCheckNodePort");
    }
    if before.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(spec, name) {
                spec.drop(name);
            }
        }
    }
    if reaches_outside(before) && !reaches_outside(spec) && unchanged(spec, "externalTrafficPolicy") {
        spec.drop("externalTrafficPolicy");
    }
    if spec.text("type") != "LoadBalancer" {
        object.object("status").set("loadBalancer", json!({}));
    }
}

fn outside(service: &Value) -> String {
    let spec = service.at("spec");
    let external = texts(spec.list("externalIPs"), ",");
    match spec.text("type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => {
            let balanced = ingress(service.at("status").at("loadBalancer"));
            match (balanced.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, true) => balanced,
                (true, false) => external,
                (false, false) => format!("{balanced},{external}"),
            }
        }
        "ExternalName" => spec.text("externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses or names of a load balancer, sorted.
pub(crate) fn ingress(status: &Value) -> String {
    let mut all: Vec<&str> = status
        .list("ingress")
        .iter()
        .map(|ingress| {
            if ingress.lacks("ip") {
                ingress.text("hostname")
            } else {
                ingress.text("ip")
            }
        })
        .filter(|text| !text.is_empty())
        .collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

fn ports(ports: &[Value]) -> String {
    if ports.is_empty() {
        return "<none>".to_owned();
    }
    let each = ports.iter().map(|port| {
        let (number, protocol) = (port.int("port").unwrap_or(0), port.text("protocol"));
        match port.int("nodePort").unwrap_or(0) {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    });
    each.collect::<Vec<_>>().join(",")
}
