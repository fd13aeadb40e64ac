//! The profile that containers get by default: what ordinary programs need, and with a capability what it is for. It
//! allows what the profiles of other engines allow, so that images run alike.

use std::collections::HashSet;

use oci_spec::runtime::{
    Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};

/// Always allowed.
const ALWAYS: &str = include_str!("always.txt");

/// Allowed with any of the capabilities.
const WITH: &[(&[Capability], &str)] = &[
    (&[Capability::DacReadSearch], "open_by_handle_at"),
    (
        &[Capability::SysAdmin],
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare statmount listmount",
    ),
    (&[Capability::SysBoot], "reboot"),
    (&[Capability::SysChroot], "chroot"),
    (&[Capability::SysModule], "delete_module init_module finit_module"),
    (&[Capability::SysPacct], "acct"),
    (
        &[Capability::SysPtrace],
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    (&[Capability::SysRawio], "iopl ioperm"),
    (
        &[Capability::SysTime],
        "settimeofday stime clock_settime clock_settime64",
    ),
    (&[Capability::SysTtyConfig], "vhangup"),
    (
        &[Capability::SysNice],
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    (&[Capability::Syslog], "syslog"),
    (&[Capability::Bpf], "bpf"),
    (&[Capability::Perfmon], "perf_event_open"),
];

/// Flags of clone(2) that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

/// The default profile for a process that may have these capabilities.
pub fn default_profile(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    let mut rules = vec![rule(ALWAYS, LinuxSeccompAction::ScmpActAllow, None, Vec::new())];
    for (any, names) in WITH {
        if any.iter().any(|capability| capabilities.contains(capability)) {
            rules.push(rule(names, LinuxSeccompAction::ScmpActAllow, None, Vec::new()));
        }
    }
    // The personalities that change nothing about safety, and asking for the present one.
    for persona in [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        let is = argument(0, persona, LinuxSeccompOperator::ScmpCmpEq, 0);
        rules.push(rule("personality", LinuxSeccompAction::ScmpActAllow, None, vec![is]));
    }
    // Sockets to the hypervisor (40) are not the container's business.
    let family = argument(0, 40, LinuxSeccompOperator::ScmpCmpNe, 0);
    rules.push(rule("socket", LinuxSeccompAction::ScmpActAllow, None, vec![family]));
    if !capabilities.contains(&Capability::SysAdmin) {
        let plain = argument(0, NAMESPACES, LinuxSeccompOperator::ScmpCmpMaskedEq, 0);
        rules.push(rule("clone", LinuxSeccompAction::ScmpActAllow, None, vec![plain]));
        // Its flags lie in memory, where no filter sees them; libraries then fall back to clone.
        const ENOSYS: u32 = 38;
        rules.push(rule(
            "clone3",
            LinuxSeccompAction::ScmpActErrno,
            Some(ENOSYS),
            Vec::new(),
        ));
    }
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(LinuxSeccompAction::ScmpActErrno);
    profile.set_default_errno_ret(Some(1));
    profile.set_syscalls(Some(rules));
    profile
}

fn rule(names: &str, action: LinuxSeccompAction, errno: Option<u32>, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.split_whitespace().map(str::to_owned).collect());
    rule.set_action(action);
    rule.set_errno_ret(errno);
    rule.set_args((!args.is_empty()).then_some(args));
    rule
}

fn argument(index: usize, value: u64, op: LinuxSeccompOperator, two: u64) -> LinuxSeccompArg {
    let built = LinuxSeccompArgBuilder::default()
        .index(index)
        .value(value)
        .value_two(two)
        .op(op)
        .build();
    built.unwrap_or_else(|_| unreachable!("all fields are given"))
}
