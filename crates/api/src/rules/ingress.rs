//! Ingresses and IngressClasses.

use std::net::IpAddr;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, service, strategy};

/// The rules of `networking.k8s.io` `ingresses`.
pub(crate) struct Ingress;
/// The rules of `networking.k8s.io` `ingressclasses`.
pub(crate) struct IngressClass;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

impl Rules for Ingress {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        for rule in spec.each("rules") {
            if let Some(http) = rule.there("http") {
                for path in http.each("paths") {
                    default_backend(path.object("backend"));
                }
            }
        }
        if let Some(backend) = spec.there("defaultBackend") {
            default_backend(backend);
        }
        object.object("status").object("loadBalancer");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
        object.set("status", json!({"loadBalancer": {}}));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        let annotated = object.at("metadata").at("annotations").at(CLASS_ANNOTATION).as_str();
        let class = object.at("spec").at("ingressClassName").as_str();
        if let (Some(annotated), Some(class)) = (annotated, class)
            && annotated != class
        {
            let at = Path::new("annotations");
            let detail = "must match `ingressClassName` when both are specified";
            errors.invalid(&at.child(CLASS_ANNOTATION), annotated, detail);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("status.loadBalancer.ingress");
        for (index, ingress) in object
            .at("status")
            .at("loadBalancer")
            .list("ingress")
            .iter()
            .enumerate()
        {
            let at = at.index(index);
            if !ingress.lacks("ip") {
                errors.form(&at.child("ip"), ingress.text("ip"), form::ip);
            }
            let host = ingress.text("hostname");
            if !host.is_empty() {
                errors.form(&at.child("hostname"), host, form::dns_subdomain);
                not_an_address(host, &at.child("hostname"), &mut errors);
            }
        }
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Class", "The class of controllers that serve it."),
            text("Hosts", "The hosts that it answers for."),
            text("Address", "Where it can be reached."),
            text("Ports", "The ports that it listens on."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let ports = if spec.list("tls").is_empty() { "80" } else { "80, 443" };
        vec![
            column::name(object),
            spec.at("ingressClassName").as_str().unwrap_or("<none>").into(),
            hosts(spec.list("rules")).into(),
            service::ingress(object.at("status").at("loadBalancer")).into(),
            ports.into(),
            age::cell(object, now),
        ]
    }
}

fn default_backend(backend: &mut Value) {
    if let Some(service) = backend.there("service") {
        service.object("port");
    }
}

fn hosts(rules: &[Value]) -> String {
    let mut list: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= list.len() == 3;
        if !more && !rule.lacks("host") {
            list.push(rule.text("host"));
        }
    }
    match (list.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, false) => list.join(","),
        (false, true) => format!("{} + {} more...", list.join(","), rules.len() - 3),
    }
}

fn not_an_address(host: &str, at: &Path<'_>, errors: &mut Errors) {
    if host.parse::<IpAddr>().is_ok() {
        errors.invalid(at, host, "must be a DNS name, not an IP address");
    }
}

fn host_form(host: &str, at: &Path<'_>, errors: &mut Errors) {
    let check = if host.contains('*') {
        form::wildcard_dns_subdomain
    } else {
        form::dns_subdomain
    };
    errors.form(at, host, check);
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let rules = spec.list("rules");
    if rules.is_empty() && !spec.has("defaultBackend") {
        let shown = if spec.has("rules") {
            spec.at("rules").clone()
        } else {
            Value::Null
        };
        errors.invalid(&at, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if spec.has("defaultBackend") {
        backend(spec.at("defaultBackend"), &at.child("defaultBackend"), errors);
    }
    let at_rules = at.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        let at = at_rules.index(index);
        let host = rule.text("host");
        if !host.is_empty() {
            not_an_address(host, &at.child("host"), errors);
            host_form(host, &at.child("host"), errors);
        }
        if rule.has("http") {
            let at = at.child("http");
            let at = at.child("paths");
            let paths = rule.at("http").list("paths");
            if paths.is_empty() {
                errors.required(&at, "");
            }
            for (index, one) in paths.iter().enumerate() {
                path(one, &at.index(index), errors);
            }
        }
    }
    let at_tls = at.child("tls");
    for (index, tls) in spec.list("tls").iter().enumerate() {
        let at = at_tls.index(index);
        let hosts = at.child("hosts");
        for (index, host) in tls.list("hosts").iter().enumerate() {
            host_form(host.as_str().unwrap_or_default(), &hosts.index(index), errors);
        }
        if !tls.lacks("secretName") {
            errors.form(&at.child("secretName"), tls.text("secretName"), form::dns_subdomain);
        }
    }
    if spec.has("ingressClassName") {
        errors.form(
            &at.child("ingressClassName"),
            spec.text("ingressClassName"),
            form::dns_subdomain,
        );
    }
}

fn path(path: &Value, at: &Path<'_>, errors: &mut Errors) {
    if !path.has("pathType") {
        errors.required(&at.child("pathType"), "pathType must be specified");
        return;
    }
    let (text, at_path) = (path.text("path"), at.child("path"));
    match path.text("pathType") {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&at_path, text, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    errors.invalid(&at_path, text, &format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    errors.invalid(&at_path, text, &format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&at_path, text, "must be an absolute path");
            }
        }
        other => {
            errors.not_supported(
                &at.child("pathType"),
                other,
                &["Exact", "ImplementationSpecific", "Prefix"],
            );
        }
    }
    backend(path.at("backend"), &at.child("backend"), errors);
}

fn backend(backend: &Value, at: &Path<'_>, errors: &mut Errors) {
    match (backend.has("resource"), backend.has("service")) {
        (true, true) => errors.invalid(at, "", "cannot set both resource and service backends"),
        (true, false) => {
            let at = at.child("resource");
            for name in ["kind", "name"] {
                let text = backend.at("resource").text(name);
                errors.required_form(&at.child(name), text, form::path_segment);
            }
        }
        (false, true) => {
            let at_service = at.child("service");
            let service = backend.at("service");
            errors.required_form(&at_service.child("name"), service.text("name"), form::dns_label);
            let (name, number) = (
                service.at("port").text("name"),
                service.at("port").int("number").unwrap_or(0),
            );
            let at_port = at_service.child("port");
            match (name.is_empty(), number) {
                (true, 0) => errors.required(at, "port name or number is required"),
                (true, number) => errors.port(&at_port.child("number"), number),
                (false, 0) => errors.form(&at_port.child("name"), name, form::port_name),
                (false, _) => errors.invalid(at, "", "cannot set both port name & port number"),
            }
        }
        (false, false) => errors.invalid(at, "", "resource or service backend is required"),
    }
}

impl Rules for IngressClass {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        if let Some(parameters) = object.object("spec").there("parameters") {
            parameters.or("scope", "Cluster");
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
        metadata::create(object, false, metadata::subdomain, &mut errors);
        class(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("spec.controller");
        errors.immutable(&at, object.at("spec").at("controller"), old.at("spec").at("controller"));
        errors.0.extend(self.validate_create(object));
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Controller", "The controller that serves the class."),
            text("Parameters", "Where the class's parameters are."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let annotations = object.at("metadata").at("annotations");
        let mut name = object.at("metadata").text("name").to_owned();
        if annotations.text("ingressclass.kubernetes.io/is-default-class") == "true" {
            name.push_str(" (default)");
        }
        let parameters = object.at("spec").at("parameters");
        let shown = if parameters.is_null() {
            "<none>".to_owned()
        } else {
            let kind = parameters.text("kind");
            match parameters.at("apiGroup").as_str() {
                Some(group) => format!("{kind}.{group}/{}", parameters.text("name")),
                None => format!("{kind}/{}", parameters.text("name")),
            }
        };
        let controller = object.at("spec").text("controller");
        vec![name.into(), controller.into(), shown.into(), age::cell(object, now)]
    }
}

fn class(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let controller = spec.text("controller");
    let at_controller = at.child("controller");
    if controller.len() > 250 {
        errors.too_long(&at_controller, 250);
    }
    match controller.split_once('/') {
        _ if controller.is_empty() => errors.required(&at_controller, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            errors.invalid_each(&at_controller, domain, form::dns_subdomain(domain));
        }
        _ => errors.invalid(
            &at_controller,
            controller,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
    }
    let parameters = spec.at("parameters");
    if parameters.is_null() {
        return;
    }
    let at = at.child("parameters");
    for name in ["kind", "name"] {
        errors.required_form(&at.child(name), parameters.text(name), form::path_segment);
    }
    match (parameters.text("scope"), parameters.has("namespace")) {
        ("Cluster", true) => errors.forbidden(&at.child("namespace"), "`parameters.scope` is set to 'Cluster'"),
        ("Namespace", false) => errors.required(&at.child("namespace"), "`parameters.scope` is set to 'Namespace'"),
        ("Cluster" | "Namespace", _) => {}
        (other, _) => errors.not_supported(&at.child("scope"), other, &["Cluster", "Namespace"]),
    }
}
