//! The plan of a container's first process: namespaces, root, mounts, then the process itself.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use shim::plan::Op;

use super::{Plan, Step, devices, mounts, process};
use crate::{Error, LogSpec, Result, RootFs};

pub(crate) const CLONE_NEWNS: u64 = 0x0002_0000;
pub(crate) const CLONE_NEWCGROUP: u64 = 0x0200_0000;
pub(crate) const CLONE_NEWUTS: u64 = 0x0400_0000;
pub(crate) const CLONE_NEWIPC: u64 = 0x0800_0000;
pub(crate) const CLONE_NEWPID: u64 = 0x2000_0000;
pub(crate) const CLONE_NEWNET: u64 = 0x4000_0000;
const MS_BIND: u64 = 4096;
const MS_REC: u64 = 16384;
const MS_SLAVE: u64 = 1 << 19;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SHARED: u64 = 1 << 20;
const SIGKILL: u64 = 9;

/// Where a container is to live: all that the bundle does not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The container's directory.
    pub(crate) dir: PathBuf,
    /// Files of the sandbox's namespaces; `None` where it has none of its own.
    pub(crate) net: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    pub(crate) pid: Option<PathBuf>,
    /// Version 1: the files to write a pid to, to be in the container's cgroups.
    pub(crate) cgroup_procs: Vec<PathBuf>,
    /// Version 2: the container's cgroup.
    pub(crate) cgroup_dir: Option<PathBuf>,
    /// What a mount of type `cgroup` shows: name and directory.
    pub(crate) cgroup_mounts: Vec<(String, PathBuf)>,
    /// The file that counts OOM kills.
    pub(crate) oom_file: Option<PathBuf>,
    /// A parked process waits, which is in the sandbox's namespaces and the cgroups already.
    pub(crate) parked: bool,
    pub(crate) log: Option<LogSpec>,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    /// The compiled system call filter and its flags.
    pub(crate) filter: Option<(u64, std::sync::Arc<[u64]>)>,
}

/// The plan for a parked process, until it waits: what all containers of a sandbox have in common.
pub(crate) fn park(place: &Place) -> Result<Plan> {
    let mut plan = Plan {
        clone_flags: CLONE_NEWPID,
        ..Plan::default()
    };
    plan.parent.extend(cgroup_at_clone(place)?);
    enter(
        place,
        (place.net.is_some(), place.ipc.is_some(), place.uts.is_some()),
        &mut plan.child,
    )?;
    plan.child.push(Step::new(Op::Await));
    Ok(plan)
}

/// The plan of a container.
pub(crate) fn container(spec: &Spec, rootfs: &RootFs, place: &Place) -> Result<Plan> {
    refuse(spec)?;
    let mut plan = Plan::default();
    let has = |kind| namespace(spec, kind);
    if let Some(wanted) = has(LinuxNamespaceType::Pid) {
        match wanted.or_else(|| place.pid.clone()) {
            Some(path) => plan.parent.push(Step::new(Op::ParentSetns).strings([text(&path)?])),
            None => plan.clone_flags |= CLONE_NEWPID,
        }
    }
    plan.parent.extend(supervision(spec, place)?);
    plan.parent.extend(cgroup_at_clone(place)?);
    let steps = &mut plan.child;
    if !place.parked {
        let mut place = place.clone();
        let mut wants = [false; 3];
        let kinds = [
            LinuxNamespaceType::Network,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
        ];
        let Place { net, ipc, uts, .. } = &mut place;
        for ((wants, kind), at) in wants.iter_mut().zip(kinds).zip([net, ipc, uts]) {
            if let Some(path) = has(kind) {
                *wants = true;
                *at = path.or_else(|| at.take());
            }
        }
        enter(&place, (wants[0], wants[1], wants[2]), steps)?;
    }
    if let Some(score) = spec.process().as_ref().and_then(|process| process.oom_score_adj()) {
        steps.push(Step::new(Op::OomScore).strings([score.to_string()]));
    }
    if has(LinuxNamespaceType::Mount).is_none() {
        return Err(Error::Unsupported("a container without a mount namespace".into()));
    }
    let cgroup = if has(LinuxNamespaceType::Cgroup).is_some() {
        CLONE_NEWCGROUP
    } else {
        0
    };
    steps.push(Step::new(Op::Unshare).args([CLONE_NEWNS | cgroup]));
    names(spec, steps);
    root(spec, rootfs, place, steps)?;
    mounts::steps(spec, place, steps)?;
    devices::steps(spec, steps)?;
    if let Some(process) = spec.process() {
        // Made while the root can still be written.
        steps.push(Step::new(Op::Mkdir).args([0o755]).strings([text(process.cwd())?]));
    }
    steps.push(Step::new(Op::PivotRoot));
    restrict(spec, steps);
    process::steps(spec, place.filter.as_ref(), process::Streams::of(spec), steps)?;
    Ok(plan)
}

/// What the engine does not do must not be left out in silence.
fn refuse(spec: &Spec) -> Result<()> {
    if namespace(spec, LinuxNamespaceType::User).is_some() {
        return Err(Error::Unsupported("user namespaces".into()));
    }
    if namespace(spec, LinuxNamespaceType::Time).is_some() {
        return Err(Error::Unsupported("time namespaces".into()));
    }
    if spec.hooks().as_ref().is_some_and(|hooks| *hooks != Default::default()) {
        return Err(Error::Unsupported("OCI hooks".into()));
    }
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Error::Invalid("no process".into()))?;
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::Invalid("no program to run".into()));
    }
    if process
        .apparmor_profile()
        .as_ref()
        .is_some_and(|profile| !profile.is_empty())
    {
        return Err(Error::Unsupported("AppArmor profiles".into()));
    }
    if process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()) {
        return Err(Error::Unsupported("SELinux labels".into()));
    }
    Ok(())
}

/// Whether the bundle wants a namespace, and if so, perhaps which.
pub(super) fn namespace(spec: &Spec, kind: LinuxNamespaceType) -> Option<Option<PathBuf>> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    namespaces
        .iter()
        .find(|namespace| namespace.typ() == kind)
        .map(|namespace| namespace.path().clone())
}

/// A path as text.
pub(super) fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::Invalid(format!("path {} is not UTF-8", path.display())))
}

fn supervision(spec: &Spec, place: &Place) -> Result<Option<Step>> {
    let terminal = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let (path, size, files) = match &place.log {
        Some(log) => (text(&log.path)?, log.max_size, log.max_files.max(1)),
        None => (String::new(), 0, 1),
    };
    let oom = place.oom_file.as_deref().map(text).transpose()?.unwrap_or_default();
    let flags = [u64::from(terminal), u64::from(place.stdin), u64::from(place.stdin_once)];
    let step = Step::new(Op::Container).args([size, u64::from(files)]).args(flags);
    Ok(Some(step.strings([text(&place.dir)?, path, oom])))
}

fn cgroup_at_clone(place: &Place) -> Result<Option<Step>> {
    place
        .cgroup_dir
        .as_deref()
        .map(|dir| Ok(Step::new(Op::Cgroup).strings([text(dir)?])))
        .transpose()
}

/// Cgroups and the sandbox's namespaces.
fn enter(place: &Place, wants: (bool, bool, bool), steps: &mut Vec<Step>) -> Result<()> {
    steps.push(Step::new(Op::DieWithParent).args([SIGKILL]));
    for file in &place.cgroup_procs {
        steps.push(Step::new(Op::WriteFile).args([0]).strings([text(file)?.as_str(), "0"]));
    }
    let kinds = [
        (wants.0, &place.net, CLONE_NEWNET),
        (wants.1, &place.ipc, CLONE_NEWIPC),
        (wants.2, &place.uts, CLONE_NEWUTS),
    ];
    for (wanted, path, kind) in kinds {
        if let Some(path) = path.as_deref().filter(|_| wanted) {
            steps.push(Step::new(Op::Setns).args([kind]).strings([text(path)?]));
        }
    }
    Ok(())
}

/// Host name and sysctls, which need the namespaces and the host's /proc.
fn names(spec: &Spec, steps: &mut Vec<Step>) {
    if namespace(spec, LinuxNamespaceType::Uts).is_some() {
        if let Some(name) = spec.hostname() {
            steps.push(Step::new(Op::Hostname).strings([name]));
        }
        if let Some(name) = spec.domainname() {
            steps.push(Step::new(Op::Domainname).strings([name]));
        }
    }
    let sysctls = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut sysctls: Vec<_> = sysctls.into_iter().flatten().collect();
    sysctls.sort();
    for (key, value) in sysctls {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        steps.push(Step::new(Op::WriteFile).args([0]).strings([&path, value]));
    }
}

/// The root file system, mounted where only this container sees it.
fn root(spec: &Spec, rootfs: &RootFs, place: &Place, steps: &mut Vec<Step>) -> Result<()> {
    let propagation = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.rootfs_propagation().as_deref());
    let propagation = match propagation.unwrap_or_default() {
        "" | "slave" | "rslave" => MS_SLAVE,
        "private" | "rprivate" => MS_PRIVATE,
        "shared" | "rshared" => MS_SHARED,
        other => return Err(Error::Invalid(format!("rootfsPropagation {other:?}"))),
    };
    let mount = |source: &str, target: &str, kind: &str, data: &str, flags| {
        Step::new(Op::Mount).args([flags]).strings([source, target, kind, data])
    };
    steps.push(mount("none", "/", "", "", MS_REC | propagation));
    let dir = match rootfs {
        RootFs::Dir(dir) => {
            let dir = text(dir)?;
            steps.push(mount(&dir, &dir, "", "", MS_BIND | MS_REC));
            dir
        }
        RootFs::Overlay { lowers, upper, work } => {
            let dir = text(&place.dir.join("rootfs"))?;
            let escape =
                |path: &Path| text(path).map(|path| path.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,"));
            let lowers = lowers
                .iter()
                .map(|lower| escape(lower))
                .collect::<Result<Vec<_>>>()?
                .join(":");
            let data = format!(
                "lowerdir={lowers},upperdir={},workdir={}",
                escape(upper)?,
                escape(work)?
            );
            if data.len() > 4000 {
                return Err(Error::Unsupported("images of so many layers with paths so long".into()));
            }
            steps.push(mount("overlay", &dir, "overlay", &data, 0));
            dir
        }
    };
    // Whatever the host's mounts are, the root of a container must be able to move.
    if propagation != MS_SHARED {
        steps.push(mount("none", &dir, "", "", MS_PRIVATE));
    }
    steps.push(Step::new(Op::OpenRoot).strings([dir]));
    Ok(())
}

/// Read-only and hidden paths.
fn restrict(spec: &Spec, steps: &mut Vec<Step>) {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        steps.push(Step::new(Op::Attr).args([MOUNT_ATTR_RDONLY, 0, 0]).strings(["/"]));
    }
    let Some(linux) = spec.linux() else { return };
    for path in linux.readonly_paths().iter().flatten() {
        steps.push(Step::new(Op::ReadOnly).strings([path]));
    }
    for path in linux.masked_paths().iter().flatten() {
        steps.push(Step::new(Op::Mask).strings([path]));
    }
}
