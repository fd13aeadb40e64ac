//! From a pod's container to an OCI configuration: the translation that the engine must know nothing about.

pub(crate) mod env;
pub(crate) mod expand;
pub(crate) mod field;
pub(crate) mod resources;
mod seccomp;
mod security;
pub(crate) mod user;

use std::path::{Path, PathBuf};

use image::Image;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

pub(crate) use env::ConfigError;

/// A mount into a container, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// `None`, `HostToContainer` or `Bidirectional`.
    pub(crate) propagation: Option<String>,
}

/// What goes into a container's configuration besides its own words.
pub(crate) struct Input<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) spec: &'a PodSpec,
    pub(crate) container: &'a Container,
    pub(crate) image: &'a Image,
    pub(crate) env: &'a [(String, String)],
    pub(crate) binds: &'a [Bind],
    pub(crate) hostname: &'a str,
    pub(crate) seccomp_profiles: &'a Path,
    /// The process namespace of another container that this one joins.
    pub(crate) joined_pid: Option<&'a str>,
}

/// The OCI configuration of a container.
pub(crate) fn build(input: &Input<'_>) -> Result<Spec, ConfigError> {
    let security = security::resolve(input.spec, input.container, input.seccomp_profiles)?;
    let run = &input.image.config.config;
    let user = user::resolve(input.spec, input.container, &run.user, &input.image.layers)?;
    let env = environment(input, &user.home);
    let config = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": security.read_only_root},
        "hostname": input.hostname,
        "process": {
            "terminal": input.container.tty.unwrap_or(false),
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": command(input)?,
            "env": env,
            "cwd": working_dir(input),
            "capabilities": security.oci_capabilities(),
            "noNewPrivileges": security.no_new_privileges,
            "oomScoreAdj": resources::oom_score_adj(input.pod, input.container, crate::machine::memory()),
        },
        "mounts": mounts(input, security.privileged),
        "linux": linux(input, &security),
    });
    serde_json::from_value(config).map_err(|error| ConfigError(format!("the container's configuration: {error}")))
}

/// `command` replaces the image's entry point and with it the image's arguments; `args` replaces the arguments.
fn command(input: &Input<'_>) -> Result<Vec<String>, ConfigError> {
    let run = &input.image.config.config;
    let lookup = |name: &str| {
        input
            .env
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let own = |words: &Option<Vec<String>>| -> Option<Vec<String>> {
        let words = words.as_ref().filter(|words| !words.is_empty())?;
        Some(words.iter().map(|word| expand::expand(word, lookup)).collect())
    };
    let (command, args) = (own(&input.container.command), own(&input.container.args));
    let mut words = command.clone().unwrap_or_else(|| run.entrypoint.clone());
    words.extend(match (command, args) {
        (_, Some(args)) => args,
        (Some(_), None) => Vec::new(),
        (None, None) => run.cmd.clone(),
    });
    if words.is_empty() {
        return Err(ConfigError("no command specified".to_string()));
    }
    Ok(words)
}

fn working_dir(input: &Input<'_>) -> String {
    let own = input.container.working_dir.as_deref().filter(|dir| !dir.is_empty());
    let image = Some(input.image.config.config.working_dir.as_str()).filter(|dir| !dir.is_empty());
    own.or(image).unwrap_or("/").to_string()
}

/// The image's variables, then the pod's over them.
fn environment(input: &Input<'_>, home: &str) -> Vec<String> {
    let image = &input.image.config.config.env;
    let key = |pair: &str| pair.split_once('=').map_or(pair, |(key, _)| key).to_string();
    let set_by_pod = |name: &str| input.env.iter().any(|(key, _)| key == name);
    let mut env: Vec<String> = Vec::with_capacity(image.len() + input.env.len() + 3);
    let has = |name: &str| set_by_pod(name) || image.iter().any(|pair| key(pair) == name);
    if !has("PATH") {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={}", input.hostname));
    }
    if !has("HOME") {
        env.push(format!("HOME={}", if home.is_empty() { "/" } else { home }));
    }
    if input.container.tty == Some(true) && !has("TERM") {
        env.push("TERM=xterm".to_string());
    }
    env.extend(image.iter().filter(|pair| !set_by_pod(&key(pair))).cloned());
    env.extend(input.env.iter().map(|(key, value)| format!("{key}={value}")));
    env
}

fn mounts(input: &Input<'_>, privileged: bool) -> Vec<Value> {
    let sys = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", sys]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", sys]}),
    ];
    // Parents before children, whatever the order in the pod.
    let mut binds: Vec<&Bind> = input.binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.matches('/').count());
    for bind in binds {
        let access = if bind.read_only { "ro" } else { "rw" };
        let propagation = match bind.propagation.as_deref() {
            Some("HostToContainer") => "rslave",
            Some("Bidirectional") => "rshared",
            _ => "rprivate",
        };
        mounts.push(
            json!({"destination": bind.target, "type": "bind", "source": bind.source,
            "options": ["rbind", propagation, access]}),
        );
    }
    mounts
}

fn linux(input: &Input<'_>, security: &security::Security) -> Value {
    let limits = resources::of_container(input.container);
    let mut namespaces = vec![json!({"type": "mount"})];
    let host = |flag: Option<bool>| flag == Some(true);
    for (kind, from_host) in [
        ("network", host(input.spec.host_network)),
        ("ipc", host(input.spec.host_ipc)),
        ("uts", host(input.spec.host_network)),
        ("pid", host(input.spec.host_pid)),
    ] {
        match input.joined_pid.filter(|_| kind == "pid" && !from_host) {
            Some(path) => namespaces.push(json!({"type": kind, "path": path})),
            None if !from_host => namespaces.push(json!({"type": kind})),
            None => {}
        }
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": security.masked_paths,
        "readonlyPaths": security.readonly_paths,
        "resources": {
            "devices": device_rules(security.privileged),
            "cpu": {"shares": limits.cpu_shares, "quota": limits.cpu_quota, "period": limits.cpu_period},
            "memory": {"limit": limits.memory},
        },
    });
    if let Some(seccomp) = &security.seccomp {
        linux["seccomp"] = seccomp.clone();
    }
    linux
}

/// Nothing but the harmless devices, unless privileged.
fn device_rules(privileged: bool) -> Value {
    if privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let allow = |major: i64, minor: Option<i64>| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"});
    json!([
        {"allow": false, "access": "rwm"},
        // mknod of any device is harmless without access to it
        {"allow": true, "type": "c", "access": "m"},
        {"allow": true, "type": "b", "access": "m"},
        allow(1, Some(3)),   // null
        allow(1, Some(5)),   // zero
        allow(1, Some(7)),   // full
        allow(1, Some(8)),   // random
        allow(1, Some(9)),   // urandom
        allow(5, Some(0)),   // tty
        allow(5, Some(2)),   // ptmx
        allow(136, None),    // terminals
    ])
}
