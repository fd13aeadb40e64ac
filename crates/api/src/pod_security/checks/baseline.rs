//! Baseline checks of namespaces of the host, ports, capabilities, privileges and kernel settings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, containers, context, found, plural, quoted, setters};
use crate::pod_security::Finding;
use crate::rules::view::View as _;

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Settings of the kernel that concern the pod alone, and since which minor version they count as such.
const SYSCTLS: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

pub(super) fn capabilities(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let mut added = BTreeSet::new();
    let bad = pod.named(|container| {
        let all = context(container).at("capabilities").list("add").iter();
        let more: Vec<&str> = all
            .filter_map(Value::as_str)
            .filter(|name| !CAPABILITIES.contains(name))
            .collect();
        added.extend(more.iter().copied());
        !more.is_empty()
    });
    if bad.is_empty() {
        return None;
    }
    let added: Vec<&str> = added.into_iter().collect();
    let who = containers(&bad);
    found(
        "non-default capabilities",
        format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(&added)
        ),
    )
}

pub(super) fn host_namespaces(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].iter();
    let shared: Vec<String> = shared
        .filter(|name| pod.spec.is(name))
        .map(|name| format!("{name}=true"))
        .collect();
    match shared.is_empty() {
        true => None,
        false => found("host namespaces", shared.join(", ")),
    }
}

pub(super) fn host_ports(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let mut ports = BTreeSet::new();
    let bad = pod.named(|container| {
        let used = container.list("ports").iter().filter_map(|port| port.int("hostPort"));
        let used: Vec<String> = used.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let any = !used.is_empty();
        ports.extend(used);
        any
    });
    if bad.is_empty() {
        return None;
    }
    let who = containers(&bad);
    let list: Vec<String> = ports.into_iter().collect();
    let (uses, what) = (
        plural(bad.len(), "uses", "use"),
        plural(list.len(), "hostPort", "hostPorts"),
    );
    found("hostPort", format!("{who} {uses} {what} {}", list.join(", ")))
}

/// Since 1.34.
pub(super) fn probe_hosts(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let (mut bad, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
        let probes = probes.iter().map(|name| container.at(name));
        let hooks = ["postStart", "preStop"];
        let hooks = hooks.iter().map(|name| container.at("lifecycle").at(name));
        for action in probes.chain(hooks) {
            for how in ["httpGet", "tcpSocket"] {
                let host = action.at(how).text("host");
                if !host.is_empty() {
                    bad.insert(container.text("name"));
                    hosts.insert(host);
                }
            }
        }
    }
    if bad.is_empty() {
        return None;
    }
    let (bad, hosts): (Vec<&str>, Vec<&str>) = (bad.into_iter().collect(), hosts.into_iter().collect());
    let what = plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    let uses = plural(bad.len(), "uses", "use");
    found(
        "probe or lifecycle host",
        format!("{} {uses} {what} {}", containers(&bad), quoted(&hosts)),
    )
}

pub(super) fn privileged(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let bad = pod.named(|container| context(container).is("privileged"));
    if bad.is_empty() {
        return None;
    }
    let who = containers(&bad);
    found(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    )
}

/// Since 1.35 pods with users of their own may see all of it.
pub(super) fn proc_mount(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && pod.has_own_users() {
        return None;
    }
    unmasked(pod)
}

/// Containers that see more of `/proc` than others.
pub(super) fn unmasked(pod: &Pod<'_>) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let bad = pod.named(|container| {
        let kind = context(container).at("procMount").as_str();
        let kind = kind.filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let who = containers(&bad);
    found(
        "procMount",
        format!("{who} must not set securityContext.procMount to {}", quoted(&kinds)),
    )
}

pub(super) fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= minor);
    let all = pod.security().list("sysctls").iter().map(|sysctl| sysctl.text("name"));
    let bad: Vec<&str> = all.filter(|name| !allowed(name)).collect();
    match bad.is_empty() {
        true => None,
        false => found("forbidden sysctls", bad.join(", ")),
    }
}

pub(super) fn host_process(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let is_set = |context: &Value| context.at("windowsOptions").is("hostProcess");
    let bad = pod.named(|container| is_set(context(container)));
    let who = setters(is_set(pod.security()), &bad)?;
    found(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
