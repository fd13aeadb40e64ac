//! What a bundle usually says: a ready-made OCI configuration to start from, and readings of parts of one.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use oci_spec::runtime::{
    Capability, Linux, LinuxCapabilities, LinuxNamespace, LinuxNamespaceType, LinuxResources, Mount, Process, Root,
    Spec, User,
};

use crate::Limits;

/// The capabilities that containers have by default.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::SysChroot,
    Capability::Mknod,
    Capability::AuditWrite,
    Capability::Setfcap,
];

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A configuration as engines usually make it: default mounts, masks, capabilities and namespaces (all but user); no
/// system call filter. The caller sets the program, user, environment and whatever else.
pub fn default_spec() -> Spec {
    let capabilities: HashSet<_> = DEFAULT_CAPABILITIES.into_iter().collect();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(capabilities.clone()))
        .set_effective(Some(capabilities.clone()))
        .set_permitted(Some(capabilities))
        .set_inheritable(None)
        .set_ambient(None);
    let mut process = Process::default();
    process
        .set_terminal(None)
        .set_user(User::default())
        .set_cwd("/".into())
        .set_env(None)
        .set_args(None)
        .set_rlimits(None)
        .set_no_new_privileges(None)
        .set_capabilities(Some(sets));
    let kinds = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
    ];
    let text = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(kinds.map(namespace).into()))
        .set_resources(None)
        .set_masked_paths(text(&MASKED))
        .set_readonly_paths(text(&READ_ONLY));
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(false));
    let mut spec = Spec::default();
    spec.set_root(Some(root))
        .set_mounts(Some(default_mounts()))
        .set_process(Some(process))
        .set_hostname(None)
        .set_linux(Some(linux))
        .set_annotations(Some(HashMap::new()));
    spec
}

fn namespace(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(None);
    namespace
}

/// A mount of a configuration.
pub fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn default_mounts() -> Vec<Mount> {
    let plain = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&plain[..], more].concat();
    vec![
        mount("/proc", "proc", "proc", &plain),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &plain),
        mount("/sys", "sysfs", "sysfs", &with(&["ro"])),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])),
    ]
}

/// The configuration of a shared process namespace's first process.
pub(crate) fn pause() -> Spec {
    let mut spec = default_spec();
    if let Some(process) = spec.process_mut() {
        process
            .set_args(Some(vec!["/pause".into()]))
            .set_oom_score_adj(Some(-998));
        let mut sets = LinuxCapabilities::default();
        let none = Some(HashSet::new());
        sets.set_bounding(none.clone())
            .set_effective(none.clone())
            .set_permitted(none.clone());
        sets.set_inheritable(none.clone()).set_ambient(none);
        process.set_no_new_privileges(Some(true)).set_capabilities(Some(sets));
    }
    // Its root holds the program and nothing to mount on.
    spec.set_mounts(Some(Vec::new()));
    if let Some(linux) = spec.linux_mut() {
        linux.set_masked_paths(None).set_readonly_paths(None);
    }
    if let Some(root) = spec.root_mut() {
        root.set_readonly(Some(true));
    }
    spec
}

impl From<&LinuxResources> for Limits {
    fn from(resources: &LinuxResources) -> Self {
        let cpu = resources.cpu().as_ref();
        Self {
            cpu_shares: cpu.and_then(|cpu| cpu.shares()),
            cpu_quota: cpu.and_then(|cpu| cpu.quota()),
            cpu_period: cpu.and_then(|cpu| cpu.period()),
            cpuset_cpus: cpu.and_then(|cpu| cpu.cpus().clone()).filter(|cpus| !cpus.is_empty()),
            cpuset_mems: cpu.and_then(|cpu| cpu.mems().clone()).filter(|mems| !mems.is_empty()),
            memory: resources.memory().as_ref().and_then(|memory| memory.limit()),
            pids: resources.pids().as_ref().map(|pids| pids.limit()),
        }
    }
}
