//! The last steps, common to first and further processes: limits, streams, user, capabilities, filter, program.

use std::collections::HashSet;
use std::sync::Arc;

use oci_spec::runtime::{Capability, PosixRlimitType, Process, Spec};
use shim::plan::Op;

use super::Step;
use super::container::text;
use crate::{Error, Result};

/// What the program's three streams are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Streams {
    /// Descriptors that were handed over.
    Handed,
    /// A terminal of rows and columns; 0 leaves the kernel's size.
    Terminal(u64, u64),
}

impl Streams {
    pub(super) fn of(spec: &Spec) -> Self {
        match spec.process() {
            Some(process) if process.terminal().unwrap_or(false) => {
                let size = process
                    .console_size()
                    .map_or((0, 0), |size| (size.height(), size.width()));
                Streams::Terminal(size.0, size.1)
            }
            _ => Streams::Handed,
        }
    }
}

/// From the new root to the program.
pub(super) fn steps(
    spec: &Spec,
    filter: Option<&(u64, Arc<[u64]>)>,
    streams: Streams,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| Error::Invalid("no process".into()))?;
    for limit in process.rlimits().iter().flatten() {
        steps.push(Step::new(Op::Rlimit).args([resource(limit.typ()), limit.soft(), limit.hard()]));
    }
    let user = process.user();
    let uid = u64::from(user.uid());
    steps.push(Step::new(Op::Setsid));
    steps.push(match streams {
        Streams::Handed => Step::new(Op::Stdio).args([uid]),
        Streams::Terminal(rows, cols) => Step::new(Op::Terminal).args([rows, cols, uid]),
    });
    steps.push(Step::new(Op::Chdir).strings([text(process.cwd())?]));
    steps.push(Step::new(Op::Umask).args([u64::from(user.umask().unwrap_or(0o022))]));
    let env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        steps.push(Step::new(Op::Home).args([uid]));
    }
    // Last of what a signal filter could hinder; becoming another user clears the parent's signal anyway.
    steps.push(Step::new(Op::ResetSignals));
    steps.push(Step::new(Op::CloseFds));
    credentials(process, filter, steps);
    let args = process.args().clone().unwrap_or_default();
    steps.push(Step::new(Op::Exec).args([args.len() as u64]).strings(args).strings(env));
    Ok(())
}

fn credentials(process: &Process, filter: Option<&(u64, Arc<[u64]>)>, steps: &mut Vec<Step>) {
    let user = process.user();
    let caps = process.capabilities().as_ref();
    let set = |set: Option<&Option<HashSet<Capability>>>| set.and_then(Option::as_ref).map_or(0, capabilities);
    let bounding = set(caps.map(|caps| caps.bounding()));
    let [effective, permitted] = [set(caps.map(|c| c.effective())), set(caps.map(|c| c.permitted()))];
    let [inheritable, ambient] = [set(caps.map(|c| c.inheritable())), set(caps.map(|c| c.ambient()))];
    let load = filter.map(|(flags, program)| Step::new(Op::Seccomp).args([*flags]).args(program.iter().copied()));
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    steps.push(Step::new(Op::Bounding).args([bounding]));
    steps.push(Step::new(Op::KeepCaps).args([1]));
    let groups = user.additional_gids().iter().flatten().map(|gid| u64::from(*gid));
    steps.push(Step::new(Op::Groups).args(groups));
    steps.push(Step::new(Op::User).args([u64::from(user.uid()), u64::from(user.gid())]));
    steps.push(Step::new(Op::DieWithParent).args([0]));
    let mut last = None;
    if no_new_privileges {
        steps.push(Step::new(Op::NoNewPrivs));
        last = load;
    } else if let Some(load) = load {
        // A filter needs CAP_SYS_ADMIN, which is about to go.
        const SYS_ADMIN: u64 = 1 << 21;
        const SETPCAP: u64 = 1 << 8;
        let now = SYS_ADMIN | SETPCAP | permitted | effective | inheritable;
        steps.push(Step::new(Op::Caps).args([now, now, inheritable]));
        steps.push(load);
    }
    steps.push(Step::new(Op::Caps).args([effective, permitted, inheritable]));
    if ambient != 0 {
        steps.push(Step::new(Op::Ambient).args([ambient]));
    }
    steps.push(Step::new(Op::KeepCaps).args([0]));
    steps.extend(last);
}

/// A set as the kernel counts it.
fn capabilities(set: &HashSet<Capability>) -> u64 {
    set.iter().fold(0, |bits, capability| bits | 1 << number(*capability))
}

fn number(capability: Capability) -> u32 {
    use Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

fn resource(kind: PosixRlimitType) -> u64 {
    use PosixRlimitType as R;
    match kind {
        R::RlimitCpu => 0,
        R::RlimitFsize => 1,
        R::RlimitData => 2,
        R::RlimitStack => 3,
        R::RlimitCore => 4,
        R::RlimitRss => 5,
        R::RlimitNproc => 6,
        R::RlimitNofile => 7,
        R::RlimitMemlock => 8,
        R::RlimitAs => 9,
        R::RlimitLocks => 10,
        R::RlimitSigpending => 11,
        R::RlimitMsgqueue => 12,
        R::RlimitNice => 13,
        R::RlimitRtprio => 14,
        R::RlimitRttime => 15,
    }
}
