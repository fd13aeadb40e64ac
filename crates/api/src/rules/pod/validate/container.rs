//! What containers must be like: names, images, ports, mounts, resources.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::form;
use crate::rules::resources;
use crate::rules::view::View as _;

use super::volume::{Volumes, descending_path};
use super::{env, probe, security};

/// Checks the containers of all three lists.
pub(super) fn check_all(spec: &Value, volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (main, init) = (spec.list("containers"), spec.list("initContainers"));
    let grace = spec.int("terminationGracePeriodSeconds");
    let at_main = at.child("containers");
    if main.is_empty() {
        errors.required(&at_main, "");
    }
    for (index, container) in main.iter().enumerate() {
        let at = at_main.index(index);
        common(spec, container, volumes, &at, errors);
        unique(container, &main[..index], &at, errors);
        probe::check_all(container, grace, &at, errors);
        restart_policy(container, &at, errors);
    }
    host_ports(main, &at_main, errors);
    let at_init = at.child("initContainers");
    for (index, container) in init.iter().enumerate() {
        let at = at_init.index(index);
        common(spec, container, volumes, &at, errors);
        if container.has("restartPolicy") {
            restart_policy(container, &at, errors);
        }
        if main
            .iter()
            .chain(&init[..index])
            .any(|other| other.text("name") == container.text("name"))
            && !container.lacks("name")
        {
            errors.duplicate(&at.child("name"), container.text("name"));
        }
        host_ports(std::slice::from_ref(container), &at_init, errors);
        init_hooks(container, grace, &at, errors);
    }
    let at = at.child("ephemeralContainers");
    let ephemeral = spec.list("ephemeralContainers");
    for (index, container) in ephemeral.iter().enumerate() {
        let at = at.index(index);
        common(spec, container, volumes, &at, errors);
        let earlier = main.iter().chain(init).chain(&ephemeral[..index]);
        if earlier
            .into_iter()
            .any(|other| other.text("name") == container.text("name"))
        {
            errors.duplicate(&at.child("name"), container.text("name"));
        }
        only_ephemeral(container, main, init, &at, errors);
    }
}

fn unique(container: &Value, earlier: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let name = container.text("name");
    if earlier.iter().any(|other| other.text("name") == name) {
        errors.duplicate(&at.child("name"), name);
    }
}

fn init_hooks(container: &Value, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    if container.text("restartPolicy") == "Always" {
        probe::check_all(container, grace, at, errors);
        return;
    }
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(name) {
            errors.forbidden(
                &at.child(name),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn restart_policy(container: &Value, at: &Path<'_>, errors: &mut Errors) {
    let rules = container.list("restartPolicyRules");
    if !container.has("restartPolicy") {
        if !rules.is_empty() {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.required(&at.child("restartPolicy"), detail);
        }
        return;
    }
    let policy = container.text("restartPolicy");
    errors.one_of(&at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    if rules.len() > 20 {
        errors.too_many(&at.child("restartPolicyRules"), rules.len(), 20);
    }
}

fn only_ephemeral(container: &Value, main: &[Value], init: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let target = container.text("targetContainerName");
    if !target.is_empty() && !main.iter().chain(init).any(|other| other.text("name") == target) {
        errors.not_found(&at.child("targetContainerName"), target);
    }
    let detail = "cannot be set for an Ephemeral Container";
    for name in [
        "ports",
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "resizePolicy",
    ] {
        if container.has(name) && container.at(name).as_array().is_none_or(|list| !list.is_empty()) {
            errors.forbidden(&at.child(name), detail);
        }
    }
    let resources = container.at("resources");
    if resources.as_object().is_some_and(|map| !map.is_empty()) {
        errors.forbidden(&at.child("resources"), detail);
    }
    let mounts = at.child("volumeMounts");
    for (index, mount) in container.list("volumeMounts").iter().enumerate() {
        for name in ["subPath", "subPathExpr"] {
            if !mount.lacks(name) {
                errors.forbidden(&mounts.index(index).child(name), detail);
            }
        }
    }
}

fn common(spec: &Value, container: &Value, volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    errors.required_form(&at.child("name"), container.text("name"), form::dns_label);
    if container.lacks("image") {
        errors.required(&at.child("image"), "");
    }
    match container.text("terminationMessagePolicy") {
        "" => errors.required(&at.child("terminationMessagePolicy"), ""),
        policy => {
            let known = ["File", "FallbackToLogsOnError"];
            errors.one_of(&at.child("terminationMessagePolicy"), policy, &known);
        }
    }
    ports(container.list("ports"), &at.child("ports"), errors);
    env::variables(container.list("env"), &at.child("env"), errors);
    env::sources(container.list("envFrom"), &at.child("envFrom"), errors);
    mounts(container, volumes, &at.child("volumeMounts"), errors);
    devices(container, volumes, &at.child("volumeDevices"), errors);
    match container.text("imagePullPolicy") {
        "" => errors.required(&at.child("imagePullPolicy"), ""),
        policy => errors.one_of(
            &at.child("imagePullPolicy"),
            policy,
            &["Always", "IfNotPresent", "Never"],
        ),
    }
    requirements(container.at("resources"), &at.child("resources"), errors);
    resize_policy(container, &at.child("resizePolicy"), errors);
    let shared_users = spec.flag("hostUsers").unwrap_or(true);
    security::container(
        container.at("securityContext"),
        shared_users,
        &at.child("securityContext"),
        errors,
    );
}

fn resize_policy(container: &Value, at: &Path<'_>, errors: &mut Errors) {
    let policies = container.list("resizePolicy");
    for (index, policy) in policies.iter().enumerate() {
        let name = policy.text("resourceName");
        if policies[..index]
            .iter()
            .any(|earlier| earlier.text("resourceName") == name)
        {
            errors.duplicate(at, name);
        }
        match name {
            "" => errors.required(at, ""),
            _ => errors.one_of(at, name, &["cpu", "memory"]),
        }
        match policy.text("restartPolicy") {
            "" => errors.required(at, ""),
            restart => errors.one_of(at, restart, &["NotRequired", "RestartContainer"]),
        }
    }
}

fn ports(ports: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let reasons = form::port_name(name);
            if reasons.is_empty() && ports[..index].iter().any(|earlier| earlier.text("name") == name) {
                errors.duplicate(&at.child("name"), name);
            }
            errors.invalid_each(&at.child("name"), name, reasons);
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errors.required(&at.child("containerPort"), ""),
            number => errors.port(&at.child("containerPort"), number),
        }
        match port.int("hostPort").unwrap_or(0) {
            0 => {}
            number => errors.port(&at.child("hostPort"), number),
        }
        match port.text("protocol") {
            "" => errors.required(&at.child("protocol"), ""),
            protocol => errors.one_of(&at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]),
        }
    }
}

fn host_ports(containers: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str, i64)> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (port_index, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort").unwrap_or(0);
            if number == 0 {
                continue;
            }
            let key = (port.text("protocol"), port.text("hostIP"), number);
            if seen.contains(&key) {
                let shown = format!("{}/{}/{}", key.0, key.1, key.2);
                errors.duplicate(
                    &at.index(index).child("ports").index(port_index).child("hostPort"),
                    shown,
                );
            } else {
                seen.push(key);
            }
        }
    }
}

fn mounts(container: &Value, volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (mounts, devices) = (container.list("volumeMounts"), container.list("volumeDevices"));
    for (index, mount) in mounts.iter().enumerate() {
        let each = at.index(index);
        let (name, path) = (mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            errors.required(&each.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&each.child("name"), name);
        }
        if path.is_empty() {
            errors.required(&each.child("mountPath"), "");
        }
        if mounts[..index].iter().any(|earlier| earlier.text("mountPath") == path) {
            errors.invalid(&each.child("mountPath"), path, "must be unique");
        }
        if devices.iter().any(|device| device.text("name") == name) {
            errors.invalid(&each.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.text("devicePath") == path) {
            errors.invalid(
                &each.child("mountPath"),
                path,
                "must not already exist as a path in volumeDevices",
            );
        }
        let (sub_path, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
        if !sub_path.is_empty() {
            descending_path(sub_path, &at.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&each.child("subPathExpr"), expression, detail);
            }
            descending_path(expression, &at.child("subPathExpr"), errors);
        }
        propagation(container, mount, at, errors);
    }
}

fn propagation(container: &Value, mount: &Value, at: &Path<'_>, errors: &mut Errors) {
    if mount.has("mountPropagation") {
        let at = at.child("mountPropagation");
        let mode = mount.text("mountPropagation");
        errors.one_of(&at, mode, &["Bidirectional", "HostToContainer", "None"]);
        if mode == "Bidirectional" && !container.at("securityContext").is("privileged") {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(&at, detail);
        }
    }
    match mount.text("recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            let at = at.child("recursiveReadOnly");
            if !mount.is("readOnly") {
                errors.forbidden(&at, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                errors.forbidden(
                    &at,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        other => {
            errors.not_supported(
                &at.child("recursiveReadOnly"),
                other,
                &["Disabled", "Enabled", "IfPossible"],
            );
        }
    }
}

fn devices(container: &Value, volumes: &Volumes<'_>, at: &Path<'_>, errors: &mut Errors) {
    let devices = container.list("volumeDevices");
    for (index, device) in devices.iter().enumerate() {
        let at = at.index(index);
        let (name, path) = (device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        match volumes.get(name) {
            None => errors.not_found(&at.child("name"), name),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&at.child("name"), name, detail);
            }
            Some(_) => {}
        }
        if path.is_empty() {
            errors.required(&at.child("devicePath"), "");
        }
        if !path.is_empty() && path.split('/').any(|step| step == "..") {
            errors.invalid(&at.child("devicePath"), path, "can not contain backsteps ('..')");
        }
        if devices[..index]
            .iter()
            .any(|earlier| earlier.text("devicePath") == path)
        {
            errors.invalid(&at.child("devicePath"), path, "must be unique");
        }
    }
}

/// Checks limits and requests, and that no request exceeds its limit.
pub(crate) fn requirements(owner: &Value, at: &Path<'_>, errors: &mut Errors) {
    requirements_named(owner, at, resource_name, errors);
}

/// A check of a resource's name.
type NameCheck = fn(name: &str, at: &Path<'_>, errors: &mut Errors);

/// The same with another opinion of which resources there are.
pub(super) fn requirements_named(owner: &Value, at: &Path<'_>, known: NameCheck, errors: &mut Errors) {
    let (at_limits, at_requests) = (at.child("limits"), at.child("requests"));
    let limits = owner.at("limits");
    for (name, value) in limits.as_object().into_iter().flatten() {
        amount_named(name, value, &at_limits.key(name), known, errors);
    }
    for (name, value) in owner.map("requests").into_iter().flatten() {
        amount_named(name, value, &at_requests.key(name), known, errors);
        let overcommit = may_overcommit(name);
        let (Some(request), limit) = (resources::parse(value), resources::quantity(limits, name)) else {
            continue;
        };
        match limit {
            Some(limit) if !overcommit && request != limit => {
                let detail = format!("must be equal to {name} limit of {}", resources::shown(limits, name));
                errors.invalid(&at_requests, value.clone(), &detail);
            }
            Some(limit) if request > limit => {
                let detail = format!(
                    "must be less than or equal to {name} limit of {}",
                    resources::shown(limits, name)
                );
                errors.invalid(&at_requests, value.clone(), &detail);
            }
            None if !overcommit => errors.required(&at_limits, "Limit must be set for non overcommitable resources"),
            _ => {}
        }
    }
    let has = |wanted: fn(&str) -> bool| {
        let all = ["limits", "requests"].into_iter().filter_map(|part| owner.map(part));
        all.flat_map(serde_json::Map::keys).any(|name| wanted(name))
    };
    if has(|name| name.starts_with("hugepages-")) && !has(|name| matches!(name, "cpu" | "memory")) {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
}

/// Native resources may be promised more than once; huge pages and those of others may not.
fn may_overcommit(name: &str) -> bool {
    (!name.contains('/') || name.starts_with("kubernetes.io/")) && !name.starts_with("hugepages-")
}

/// Checks one entry of a resource list: a known name, not negative, whole where it must be.
pub(super) fn amount(name: &str, value: &Value, at: &Path<'_>, errors: &mut Errors) {
    amount_named(name, value, at, resource_name, errors);
}

fn amount_named(name: &str, value: &Value, at: &Path<'_>, known: NameCheck, errors: &mut Errors) {
    known(name, at, errors);
    let Some(quantity) = resources::parse(value) else {
        return;
    };
    if quantity.is_negative() {
        errors.invalid(at, value.clone(), "must be greater than or equal to 0");
    }
    let is_native = !name.contains('/') || name.starts_with("kubernetes.io/");
    if !is_native && quantity.millis() % 1000 != 0 {
        errors.invalid(at, value.clone(), "must be an integer");
    }
}

fn resource_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.0.len();
    any_resource_name(name, at, errors);
    if !name.contains('/') {
        let of_containers = is_of_containers(name);
        let malformed = errors.0[before..]
            .iter()
            .any(|error| !error.detail.starts_with("must be a standard"));
        if !of_containers && !malformed {
            errors.invalid(at, name, "must be a standard resource for containers");
        }
    } else if name.starts_with("requests.") {
        errors.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

fn is_of_containers(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// A resource name must be qualified, or one of Kubernetes' own.
pub(super) fn any_resource_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let reasons = form::qualified_name(name);
    if !reasons.is_empty() {
        errors.invalid_each(at, name, reasons);
        return;
    }
    let counted = matches!(
        name,
        "storage" | "pods" | "services" | "replicationcontrollers" | "resourcequotas" | "secrets" | "configmaps"
    );
    let scoped = name.starts_with("requests.") || name.starts_with("limits.");
    if !name.contains('/') && !is_of_containers(name) && !counted && !scoped {
        errors.invalid(at, name, "must be a standard resource type or fully qualified");
    }
}
