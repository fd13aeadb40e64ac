//! Defaults of pods and of everything that carries a pod template.

use serde_json::{Value, json};

use crate::rules::resources;
use crate::rules::view::{Edit as _, View as _};

/// The lists of containers in a pod spec.
pub(crate) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in a pod: what only pods get, then what every pod spec gets.
pub(crate) fn pod(pod: &mut Value) {
    pod.object("metadata");
    let spec = pod.object("spec");
    if spec
        .int("terminationGracePeriodSeconds")
        .is_some_and(|seconds| seconds < 0)
    {
        spec.set("terminationGracePeriodSeconds", 1);
    }
    for name in ["containers", "initContainers"] {
        spec.each(name).for_each(resources::request_what_is_limited);
    }
    spec.or("enableServiceLinks", true);
    if spec.is("hostNetwork") {
        for name in ["containers", "initContainers"] {
            spec.each(name).for_each(expose_on_host);
        }
    }
    self::spec(spec);
    let status = pod.object("status");
    keep_addresses_in_step(status, "podIP", "podIPs");
    for name in [
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ] {
        for container in status.each(name) {
            container.object("state");
            container.object("lastState");
        }
    }
}

/// Fills in a template's metadata and pod spec.
pub(crate) fn template(template: &mut Value) {
    template.object("metadata");
    spec(template.object("spec"));
}

fn expose_on_host(container: &mut Value) {
    for port in container.each("ports") {
        if let Some(number) = port.int("containerPort") {
            port.or_number("hostPort", number);
        }
    }
}

/// The first of the list and the single field are the same thing; the single one wins.
fn keep_addresses_in_step(status: &mut Value, one: &str, many: &str) {
    let single = status.text(one).to_owned();
    let first = status.list(many).first().map(|entry| entry.text("ip").to_owned());
    match (single.is_empty(), first) {
        (true, Some(first)) => status.set(one, first),
        (false, first) if first.as_deref() != Some(single.as_str()) => status.set(many, json!([{ "ip": single }])),
        _ => {}
    }
}

/// Fills in a pod spec, wherever it is.
pub(crate) fn spec(spec: &mut Value) {
    match (spec.lacks("serviceAccountName"), spec.lacks("serviceAccount")) {
        (true, false) => {
            let name = spec.text("serviceAccount").to_owned();
            spec.set("serviceAccountName", name);
        }
        (false, _) if spec.text("serviceAccount") != spec.text("serviceAccountName") => {
            let name = spec.text("serviceAccountName").to_owned();
            spec.set("serviceAccount", name);
        }
        _ => {}
    }
    spec.or_text("dnsPolicy", "ClusterFirst");
    spec.or_text("restartPolicy", "Always");
    spec.object("securityContext");
    spec.or("terminationGracePeriodSeconds", 30);
    spec.or_text("schedulerName", "default-scheduler");
    spec.each("volumes").for_each(volume);
    resources::round(spec.there("overhead"));
    resources::round_resources(spec);
    for name in CONTAINER_LISTS {
        spec.each(name).for_each(container);
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume
        .as_object()
        .is_some_and(|map| map.iter().any(|(k, v)| k != "name" && !v.is_null()));
    if !has_source {
        volume.object("emptyDir");
        return;
    }
    for (source, defaults) in VOLUME_DEFAULTS {
        if let Some(source) = volume.there(source) {
            defaults(source);
        }
    }
}

type Fill = fn(&mut Value);

/// What each kind of volume gets; persistent volumes share most of them.
pub(crate) const VOLUME_DEFAULTS: &[(&str, Fill)] = &[
    ("hostPath", |source| source.or("type", "")),
    ("secret", |source| source.or("defaultMode", 0o644)),
    ("configMap", |source| source.or("defaultMode", 0o644)),
    ("downwardAPI", |source| {
        source.or("defaultMode", 0o644);
        source.each("items").for_each(field_reference);
    }),
    ("projected", |source| {
        source.or("defaultMode", 0o644);
        for each in source.each("sources") {
            if let Some(token) = each.there("serviceAccountToken") {
                token.or("expirationSeconds", 3600);
            }
            if let Some(downward) = each.there("downwardAPI") {
                downward.each("items").for_each(field_reference);
            }
        }
    }),
    ("iscsi", |source| source.or_text("iscsiInterface", "default")),
    ("rbd", |source| {
        source.or_text("pool", "rbd");
        source.or_text("user", "admin");
        source.or_text("keyring", "/etc/ceph/keyring");
    }),
    ("azureDisk", |source| {
        source.or("cachingMode", "ReadWrite");
        source.or("fsType", "ext4");
        source.or("readOnly", false);
        source.or("kind", "Shared");
    }),
    ("scaleIO", |source| {
        source.or_text("storageMode", "ThinProvisioned");
        source.or_text("fsType", "xfs");
    }),
    ("image", |source| {
        let policy = pull_policy(source.text("reference"));
        source.or_text("pullPolicy", policy);
    }),
    ("ephemeral", |source| {
        if let Some(template) = source.there("volumeClaimTemplate") {
            template.object("metadata");
            let spec = template.object("spec");
            spec.object("resources");
            spec.or("volumeMode", "Filesystem");
            resources::round_resources(spec);
        }
    }),
];

fn field_reference(item: &mut Value) {
    if let Some(reference) = item.there("fieldRef") {
        reference.or_text("apiVersion", "v1");
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container.text("image"));
    container.or_text("imagePullPolicy", policy);
    container.or_text("terminationMessagePath", "/dev/termination-log");
    container.or_text("terminationMessagePolicy", "File");
    container.object("resources");
    resources::round_resources(container);
    for port in container.each("ports") {
        port.or_text("protocol", "TCP");
    }
    for variable in container.each("env") {
        if let Some(source) = variable.there("valueFrom") {
            field_reference(source);
            if let Some(resource) = source.there("resourceFieldRef") {
                resource.or("divisor", "0");
            }
            if let Some(file) = source.there("fileKeyRef") {
                file.or("optional", false);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.there(name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = container.there("lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(get) = lifecycle.there(name).and_then(|hook| hook.there("httpGet")) {
                http_get(get);
            }
        }
    }
}

fn probe(probe: &mut Value) {
    for (name, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        probe.or_number(name, value);
    }
    if let Some(get) = probe.there("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.there("grpc") {
        grpc.or("service", "");
    }
}

fn http_get(get: &mut Value) {
    get.or_text("path", "/");
    get.or_text("scheme", "HTTP");
}

/// `Always` for images that may change under their tag: those tagged `latest`, or not at all.
fn pull_policy(image: &str) -> &'static str {
    let Some((name, tag)) = split_tag(image) else {
        return "IfNotPresent";
    };
    let _ = name;
    if tag == "latest" { "Always" } else { "IfNotPresent" }
}

/// The repository and the tag (`latest` when neither tag nor digest is given, empty with a digest alone); `None` when
/// the reference is malformed.
fn split_tag(image: &str) -> Option<(&str, &str)> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let last = rest.rsplit('/').next().unwrap_or_default();
    let (name, tag) = match last.rsplit_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], tag),
        None => (rest, if digest.is_some() { "" } else { "latest" }),
    };
    let first_is_host = name
        .split_once('/')
        .is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    let path = if first_is_host {
        name.split_once('/').map_or(name, |(_, path)| path)
    } else {
        name
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'/');
    let good = !path.is_empty() && path.bytes().all(plain) && !path.starts_with('/') && !path.ends_with('/');
    good.then_some((name, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_change_are_always_pulled() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("localhost:5000/a/b", "Always"),
            ("localhost:5000/a/b:1", "IfNotPresent"),
            (
                "nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "IfNotPresent",
            ),
            ("nginx:1.27", "IfNotPresent"),
            ("NGINX", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
