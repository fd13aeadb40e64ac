//! What a pod spec must be like, in pods and in templates.

mod certificate;
mod container;
mod env;
mod pod_level;
mod probe;
mod scheduling;
mod security;
mod volume;

use meta::Path;
use serde_json::Value;

use crate::rules::check::{Errors, Form};
use crate::rules::view::View as _;
use crate::rules::{form, metadata};

pub(crate) use container::requirements;
pub(crate) use scheduling::{node_selector, tolerations};
pub(crate) use volume::host_path;

/// Where a pod spec is: some rules hold for pods only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PodForm {
    /// In a pod.
    Pod,
    /// In the template of a controller.
    Template,
}

/// Checks a pod's spec, and what depends on its metadata.
pub(crate) fn pod(pod: &Value, errors: &mut Errors) {
    let spec = pod.at("spec");
    let at = Path::new("spec");
    self::spec(spec, &at, PodForm::Pod, errors);
    for name in super::defaults::CONTAINER_LISTS {
        let list = at.child(name);
        for (index, container) in spec.list(name).iter().enumerate() {
            untrimmed_image(container, &list.index(index), errors);
        }
    }
    if spec.lacks("serviceAccountName") {
        let volumes = at.child("volumes");
        for (index, volume) in spec.list("volumes").iter().enumerate() {
            let sources = volumes.index(index);
            let sources = sources.child("projected");
            let sources = sources.child("sources");
            for (index, source) in volume.at("projected").list("sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(&sources.index(index).child("serviceAccountToken"), detail);
                }
            }
        }
    }
}

fn untrimmed_image(container: &Value, at: &Path<'_>, errors: &mut Errors) {
    let image = container.text("image");
    if image.trim().len() != image.len() {
        errors.invalid(
            &at.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
}

/// Checks a template: its labels, annotations and spec.
pub(crate) fn template(template: &Value, at: &Path<'_>, form: PodForm, errors: &mut Errors) {
    let metadata = template.at("metadata");
    errors.labels(&at.child("labels"), metadata.at("labels"));
    metadata::annotations(metadata.at("annotations"), &at.child("annotations"), errors);
    let at = at.child("spec");
    spec(template.at("spec"), &at, form, errors);
    if !template.at("spec").list("ephemeralContainers").is_empty() {
        errors.forbidden(
            &at.child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// Checks a pod spec.
pub(crate) fn spec(spec: &Value, at: &Path<'_>, form: PodForm, errors: &mut Errors) {
    let volumes = volume::check(spec.list("volumes"), &at.child("volumes"), errors);
    container::check_all(spec, &volumes, at, errors);
    pod_level::check(spec, &at.child("resources"), errors);
    host_ports(spec, at, form, errors);
    own_users(spec, at, errors);
    match spec.text("restartPolicy") {
        "" => errors.required(&at.child("restartPolicy"), ""),
        policy => errors.one_of(&at.child("restartPolicy"), policy, &["Always", "OnFailure", "Never"]),
    }
    match spec.text("dnsPolicy") {
        "" => errors.required(&at.child("dnsPolicy"), ""),
        policy => {
            let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
            errors.one_of(&at.child("dnsPolicy"), policy, &known);
        }
    }
    errors.labels(&at.child("nodeSelector"), spec.at("nodeSelector"));
    security::pod(spec, &at.child("securityContext"), errors);
    if spec.is("shareProcessNamespace") && spec.is("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.child("shareProcessNamespace"), true, detail);
    }
    scheduling::affinity(spec.at("affinity"), &at.child("affinity"), errors);
    dns_config(spec, &at.child("dnsConfig"), errors);
    gates(spec, at, errors);
    scheduling::spread(
        spec.list("topologySpreadConstraints"),
        &at.child("topologySpreadConstraints"),
        errors,
    );
    names(spec, at, errors);
    if let Some(deadline) = spec.int("activeDeadlineSeconds") {
        errors.in_range(&at.child("activeDeadlineSeconds"), deadline, 1, i64::from(i32::MAX));
    }
    scheduling::tolerations(spec.list("tolerations"), &at.child("tolerations"), errors);
    host_aliases(spec, at, errors);
    if spec.has("preemptionPolicy") {
        let policy = spec.text("preemptionPolicy");
        errors.one_of(
            &at.child("preemptionPolicy"),
            policy,
            &["PreemptLowerPriority", "Never"],
        );
    }
    let overhead = at.child("overhead");
    let overhead = overhead.child("limits");
    for (name, value) in spec.map("overhead").into_iter().flatten() {
        container::amount(name, value, &overhead.key(name), errors);
    }
    if spec.has("os") {
        match spec.at("os").text("name") {
            "" => errors.required(&at.child("os").child("name"), ""),
            name => errors.one_of(&at.child("os"), name, &["linux", "windows"]),
        }
    }
}

fn host_ports(spec: &Value, at: &Path<'_>, form: PodForm, errors: &mut Errors) {
    if !spec.is("hostNetwork") {
        return;
    }
    let containers = at.child("containers");
    for (index, container) in spec.list("containers").iter().enumerate() {
        let ports = containers.index(index);
        let ports = ports.child("ports");
        for (index, port) in container.list("ports").iter().enumerate() {
            let host = port.int("hostPort").unwrap_or(0);
            if (form == PodForm::Pod || host != 0) && host != port.int("containerPort").unwrap_or(0) {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&ports.index(index).child("hostPort"), host, detail);
            }
        }
    }
}

/// A pod with users of its own can't share the host's namespaces.
fn own_users(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    if spec.flag("hostUsers") != Some(false) {
        return;
    }
    for (flag, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec.is(flag) {
            errors.forbidden(&at.child(shown), "when `hostUsers` is false");
        }
    }
}

fn gates(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let readiness = at.child("readinessGates");
    for (index, gate) in spec.list("readinessGates").iter().enumerate() {
        let kind = gate.text("conditionType");
        errors.form(
            &readiness.index(index).child("conditionType"),
            kind,
            form::qualified_name,
        );
    }
    let scheduling = at.child("schedulingGates");
    let gates = spec.list("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        errors.form(&scheduling.index(index), name, form::qualified_name);
        if gates[..index].iter().any(|earlier| earlier.text("name") == name) {
            errors.duplicate(&scheduling.index(index), name);
        }
    }
}

fn names(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let forms: [(&str, Form); 6] = [
        ("serviceAccountName", form::dns_subdomain),
        ("nodeName", form::dns_subdomain),
        ("hostname", form::dns_label),
        ("subdomain", form::dns_label),
        ("priorityClassName", form::dns_subdomain),
        ("runtimeClassName", form::dns_subdomain),
    ];
    for (name, check) in forms {
        if !spec.lacks(name) {
            errors.form(&at.child(name), spec.text(name), check);
        }
    }
    let hostname = spec.text("hostnameOverride");
    if spec.has("hostnameOverride") {
        let at = at.child("hostnameOverride");
        if spec.is("setHostnameAsFQDN") {
            errors.forbidden(&at, "may not be specified when setHostnameAsFQDN is true");
        }
        if spec.is("hostNetwork") {
            errors.forbidden(&at, "may not be specified when hostNetwork is true");
        }
        if hostname.len() > 64 {
            errors.too_long(&at, 64);
        }
        errors.form(&at, hostname, form::dns_subdomain);
    }
}

fn host_aliases(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let aliases = at.child("hostAliases");
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = aliases.index(index);
        errors.form(&at.child("ip"), alias.text("ip"), form::ip);
        let names = at.child("hostnames");
        for (index, name) in alias.list("hostnames").iter().enumerate() {
            errors.form(
                &names.index(index),
                name.as_str().unwrap_or_default(),
                form::dns_subdomain,
            );
        }
    }
}

fn dns_config(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let config = spec.at("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&at.child("nameservers"), detail);
            return;
        }
    }
    if servers.len() > 3 {
        let shown = config.at("nameservers").clone();
        errors.invalid(&at.child("nameservers"), shown, "must not have more than 3 nameservers");
    }
    let at_servers = at.child("nameservers");
    for (index, server) in servers.iter().enumerate() {
        errors.form(&at_servers.index(index), server.as_str().unwrap_or_default(), form::ip);
    }
    let searches = config.list("searches");
    let at_searches = at.child("searches");
    if searches.len() > 32 {
        let shown = config.at("searches").clone();
        errors.invalid(&at_searches, shown, "must not have more than 32 search paths");
    }
    let characters: usize = searches
        .iter()
        .filter_map(Value::as_str)
        .map(|search| search.len() + 1)
        .sum();
    if characters > 2049 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&at_searches, config.at("searches").clone(), detail);
    }
    for (index, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            errors.form(&at_searches.index(index), search, form::dns_subdomain_with_underscore);
        }
    }
    let options = at.child("options");
    for (index, option) in config.list("options").iter().enumerate() {
        if option.lacks("name") {
            errors.required(&options.index(index), "must not be empty");
        }
    }
}
