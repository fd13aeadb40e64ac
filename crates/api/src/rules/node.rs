//! Nodes.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, or, text, wide};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, resources, strategy};

/// The rules of `nodes`.
pub(crate) struct Node;

const COLUMNS: &[Column] = &[
    age::NAME,
    text(
        "Status",
        "Whether the node is ready, and whether pods may be put there.",
    ),
    text("Roles", "What the node is for, by its labels."),
    age::AGE,
    text("Version", "The version of the node's agent."),
    wide("Internal-IP", "The node's first internal address."),
    wide("External-IP", "The node's first external address."),
    wide("OS-Image", "The operating system, as it calls itself."),
    wide("Kernel-Version", "The kernel, and the machine's architecture."),
    wide("Container-Runtime", "What runs the containers."),
];

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

impl Rules for Node {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec");
        let status = object.object("status");
        if !status.has("allocatable") && status.has("capacity") {
            let capacity = status.at("capacity").clone();
            status.set("allocatable", capacity);
        }
        resources::round(status.there("capacity"));
        resources::round(status.there("allocatable"));
        status.object("daemonEndpoints").object("kubeletEndpoint").or("Port", 0);
        let info = status.object("nodeInfo");
        for name in [
            "machineID",
            "systemUUID",
            "bootID",
            "kernelVersion",
            "osImage",
            "containerRuntimeVersion",
            "kubeletVersion",
            "kubeProxyVersion",
            "operatingSystem",
            "architecture",
        ] {
            info.or(name, "");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.object("spec").drop("configSource");
        object.object("status").drop("config");
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
        if !old.at("spec").has("configSource") {
            object.object("spec").drop("configSource");
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let spec = object.at("spec");
        taints(spec.list("taints"), &Path::new("metadata.taints"), &mut errors);
        amounts(object, &mut errors);
        let cidrs = Path::new("spec.podCIDRs");
        let list = spec.list("podCIDRs");
        for (index, cidr) in list.iter().enumerate() {
            errors.form(&cidrs.index(index), cidr.as_str().unwrap_or_default(), form::cidr);
        }
        let v6 = list
            .iter()
            .filter(|cidr| cidr.as_str().is_some_and(|text| text.contains(':')))
            .count();
        if list.len() > 1 && (list.len() != 2 || v6 != 1) {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.invalid(&cidrs, spec.at("podCIDRs").clone(), detail);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        amounts(object, &mut errors);
        let addresses = object.at("status").list("addresses");
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                let shown = json!({"Type": address.text("type"), "Address": address.text("address")});
                errors.duplicate(&Path::new("status.addresses").index(index), shown);
            }
        }
        let (spec, before) = (object.at("spec"), old.at("spec"));
        let cidrs = before.list("podCIDRs");
        if !cidrs.is_empty() && cidrs != spec.list("podCIDRs") {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&Path::new("spec.podCIDRs"), detail);
        }
        if !before.lacks("providerID") && before.text("providerID") != spec.text("providerID") {
            let detail = if spec.lacks("providerID") {
                "field cannot be cleared once set"
            } else {
                "field cannot be modified once set"
            };
            errors.invalid(&Path::new("spec.providerID"), Value::Null, detail);
        }
        taints(spec.list("taints"), &Path::new("metadata.taints"), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_update(object, old)
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "spec.unschedulable"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![
            ("metadata.name", object.at("metadata").text("name").to_owned()),
            ("spec.unschedulable", object.at("spec").is("unschedulable").to_string()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (status, info) = (object.at("status"), object.at("status").at("nodeInfo"));
        let mut kernel = or(info.text("kernelVersion"), "<unknown>").to_owned();
        if !info.lacks("architecture") {
            kernel = format!("{kernel} ({})", info.text("architecture"));
        }
        vec![
            column::name(object),
            condition(object).into(),
            roles(object).into(),
            age::cell(object, now),
            info.text("kubeletVersion").into(),
            address(status, "InternalIP").into(),
            address(status, "ExternalIP").into(),
            or(info.text("osImage"), "<unknown>").into(),
            kernel.into(),
            or(info.text("containerRuntimeVersion"), "<unknown>").into(),
        ]
    }
}

fn condition(node: &Value) -> String {
    let conditions = node.at("status").list("conditions");
    let word = match conditions.iter().rfind(|condition| condition.text("type") == "Ready") {
        None => "Unknown",
        Some(ready) if ready.text("status") == "True" => "Ready",
        Some(_) => "NotReady",
    };
    if node.at("spec").is("unschedulable") {
        format!("{word},SchedulingDisabled")
    } else {
        word.to_owned()
    }
}

fn roles(node: &Value) -> String {
    let labels = node.at("metadata").map("labels").into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

fn address<'a>(status: &'a Value, kind: &str) -> &'a str {
    let found = status
        .list("addresses")
        .iter()
        .find(|address| address.text("type") == kind);
    found.map_or("<none>", |address| address.text("address"))
}

fn amounts(node: &Value, errors: &mut Errors) {
    for part in ["capacity", "allocatable"] {
        for (name, value) in node.at("status").map(part).into_iter().flatten() {
            let Some(amount) = resources::parse(value) else {
                continue;
            };
            let at = Path::new("status");
            let at = at.child(part);
            if amount.is_negative() {
                errors.invalid(&at.child(name), value.clone(), "must be greater than or equal to 0");
            }
            let whole = name == "pods" || (name.contains('/') && !name.starts_with("kubernetes.io/"));
            if whole && amount.millis() % 1000 != 0 {
                errors.invalid(&at.child(name), value.clone(), "must be an integer");
            }
        }
    }
}

fn taints(taints: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, taint) in taints.iter().enumerate() {
        let at = at.index(index);
        errors.form(&at.child("key"), taint.text("key"), form::qualified_name);
        let reasons = form::label_value(taint.text("value"));
        if !reasons.is_empty() {
            errors.invalid(&at.child("value"), taint.text("value"), &reasons.join(";"));
        }
        match taint.text("effect") {
            "" => errors.required(&at.child("effect"), ""),
            effect => {
                errors.one_of(
                    &at.child("effect"),
                    effect,
                    &["NoSchedule", "PreferNoSchedule", "NoExecute"],
                );
            }
        }
        let twin = |other: &Value| {
            ["key", "effect"]
                .iter()
                .all(|name| other.text(name) == taint.text(name))
        };
        if taints[..index].iter().any(twin) {
            let shown = json!({
                "Key": taint.text("key"),
                "Value": taint.text("value"),
                "Effect": taint.text("effect"),
                "TimeAdded": taint.at("timeAdded"),
            });
            let mut error = FieldError::duplicate(at, shown);
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.0.push(error);
        }
    }
}
