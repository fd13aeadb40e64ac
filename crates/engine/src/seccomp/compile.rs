//! From OCI's rules to the kernel's instructions. System calls are found by binary search, so that a call costs a dozen
//! instructions whatever the profile's length, and loading, which tries each call once, is short as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

use super::Filter;
use crate::{Error, Result};

#[cfg(target_arch = "x86_64")]
const NUMBERS: &str = include_str!("x86_64.txt");
#[cfg(target_arch = "aarch64")]
const NUMBERS: &str = include_str!("aarch64.txt");
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
/// Calls from here on are x32's.
const X32: u32 = 0x4000_0000;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const fn instruction(code: u16, yes: u8, no: u8, value: u32) -> u64 {
    code as u64 | (yes as u64) << 16 | (no as u64) << 24 | (value as u64) << 32
}

/// The number of a system call on this machine.
pub(super) fn number(name: &str) -> Option<u32> {
    static TABLE: OnceLock<HashMap<&str, u32>> = OnceLock::new();
    let parse = |line: &'static str| {
        line.split_once(' ')
            .and_then(|(name, number)| Some((name, number.parse().ok()?)))
    };
    TABLE
        .get_or_init(|| NUMBERS.lines().filter_map(parse).collect())
        .get(name)
        .copied()
}

/// What happens to one system call: rules with conditions in their order, then what holds otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Calls {
    conditions: Vec<(Vec<LinuxSeccompArg>, u32)>,
    otherwise: Option<u32>,
}

/// Compiles a profile. Names that this machine does not know are left out, as everybody does: profiles are written for
/// many kernels.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut calls = BTreeMap::<u32, Calls>::new();
    for rule in profile.syscalls().iter().flatten() {
        let act = action(rule.action(), rule.errno_ret())?;
        for number in rule.names().iter().filter_map(|name| number(name)) {
            let call = calls.entry(number).or_default();
            match rule.args().as_deref().unwrap_or_default() {
                [] => call.otherwise = call.otherwise.or(Some(act)),
                args => call
                    .conditions
                    .extend(alternatives(args).into_iter().map(|args| (args, act))),
            }
        }
    }
    let mut program = vec![
        instruction(LOAD, 0, 0, 4),
        instruction(IF_EQUAL, 1, 0, ARCH),
        instruction(RETURN, 0, 0, default),
        instruction(LOAD, 0, 0, 0),
    ];
    program.extend(search(&ranges(&calls, default))?);
    if program.len() > 4096 {
        return Err(Error::Unsupported("a system call filter so large".into()));
    }
    let flags = profile
        .flags()
        .iter()
        .flatten()
        .fold(0, |flags, flag| flags | flag_bit(*flag));
    Ok((flags, program.into()))
}

/// Conditions on different arguments must all hold; several on the same one are alternatives.
fn alternatives(args: &[LinuxSeccompArg]) -> Vec<Vec<LinuxSeccompArg>> {
    let repeated = args
        .iter()
        .any(|one| args.iter().filter(|other| other.index() == one.index()).count() > 1);
    if repeated {
        args.iter().map(|arg| vec![*arg]).collect()
    } else {
        vec![args.to_vec()]
    }
}

fn flag_bit(flag: LinuxSeccompFilterFlag) -> u64 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 4,
        // Threads there are none, and nobody to be notified.
        _ => 0,
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    const EPERM: u32 = 1;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(EPERM) & 0xffff,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | errno.unwrap_or(EPERM) & 0xffff,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
        LinuxSeccompAction::ScmpActNotify => return Err(Error::Unsupported("seccomp notification".into())),
    })
}

/// All numbers, cut into ranges of the same treatment.
fn ranges(calls: &BTreeMap<u32, Calls>, default: u32) -> Vec<(u32, Calls)> {
    let rest = Calls {
        conditions: Vec::new(),
        otherwise: Some(default),
    };
    let mut ranges = vec![(0, rest.clone())];
    let mut push = |start: u32, calls: Calls| match ranges.last_mut() {
        Some((_, last)) if *last == calls => {}
        Some((from, last)) if *from == start => *last = calls,
        _ => ranges.push((start, calls)),
    };
    for (number, call) in calls {
        let otherwise = call.otherwise.or(Some(default));
        push(
            *number,
            Calls {
                otherwise,
                ..call.clone()
            },
        );
        if !calls.contains_key(&(number + 1)) {
            push(number + 1, rest.clone());
        }
    }
    push(X32, rest);
    ranges
}

fn search(ranges: &[(u32, Calls)]) -> Result<Vec<u64>> {
    if let [(_, calls)] = ranges {
        return leaf(calls);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let left = search(below)?;
    let mut code = match u8::try_from(left.len()) {
        Ok(skip) => vec![instruction(IF_AT_LEAST, skip, 0, above[0].0)],
        Err(_) => vec![
            instruction(IF_AT_LEAST, 0, 1, above[0].0),
            instruction(JUMP, 0, 0, left.len() as u32),
        ],
    };
    code.extend(left);
    code.extend(search(above)?);
    Ok(code)
}

fn leaf(calls: &Calls) -> Result<Vec<u64>> {
    let mut code = Vec::new();
    for (args, action) in &calls.conditions {
        let mut checks = Vec::new();
        for arg in args {
            check(arg, &mut checks)?;
        }
        let end = checks.len() + 1;
        for (at, check) in checks.iter().enumerate() {
            let to = |go: Go| match go {
                Go::On => 0,
                Go::Met(distance) => distance,
                Go::Fail => (end - at - 1) as u8,
            };
            code.push(instruction(check.0, to(check.1), to(check.2), check.3));
        }
        code.push(instruction(RETURN, 0, 0, *action));
    }
    code.push(instruction(RETURN, 0, 0, calls.otherwise.unwrap_or_default()));
    Ok(code)
}

/// Where an instruction goes on.
#[derive(Clone, Copy)]
enum Go {
    /// With the next.
    On,
    /// So many further: this check is met.
    Met(u8),
    /// Past the whole rule.
    Fail,
}

type Check = (u16, Go, Go, u32);

/// One comparison of an argument of 64 bits, in halves.
fn check(arg: &LinuxSeccompArg, code: &mut Vec<Check>) -> Result<()> {
    use LinuxSeccompOperator as Is;
    if arg.index() > 5 {
        return Err(Error::Invalid(format!("seccomp argument {}", arg.index())));
    }
    let offset = 16 + 8 * arg.index() as u32;
    let load = |offset| (LOAD, Go::On, Go::On, offset);
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high, low) = halves(arg.value());
    let (top, bottom) = (load(offset + 4), load(offset));
    match arg.op() {
        Is::ScmpCmpEq => code.extend([
            top,
            (IF_EQUAL, Go::On, Go::Fail, high),
            bottom,
            (IF_EQUAL, Go::On, Go::Fail, low),
        ]),
        Is::ScmpCmpNe => code.extend([
            top,
            (IF_EQUAL, Go::On, Go::Met(2), high),
            bottom,
            (IF_EQUAL, Go::Fail, Go::On, low),
        ]),
        Is::ScmpCmpMaskedEq => {
            let (want_high, want_low) = halves(arg.value_two().unwrap_or(0));
            let and = |mask| (AND, Go::On, Go::On, mask);
            code.extend([top, and(high), (IF_EQUAL, Go::On, Go::Fail, want_high)]);
            code.extend([bottom, and(low), (IF_EQUAL, Go::On, Go::Fail, want_low)]);
        }
        Is::ScmpCmpGt | Is::ScmpCmpGe => {
            let last = if arg.op() == Is::ScmpCmpGt {
                IF_GREATER
            } else {
                IF_AT_LEAST
            };
            code.extend([
                top,
                (IF_GREATER, Go::Met(3), Go::On, high),
                (IF_EQUAL, Go::On, Go::Fail, high),
            ]);
            code.extend([bottom, (last, Go::On, Go::Fail, low)]);
        }
        Is::ScmpCmpLt | Is::ScmpCmpLe => {
            let last = if arg.op() == Is::ScmpCmpLt {
                IF_AT_LEAST
            } else {
                IF_GREATER
            };
            code.extend([
                top,
                (IF_GREATER, Go::Fail, Go::On, high),
                (IF_EQUAL, Go::On, Go::Met(2), high),
            ]);
            code.extend([bottom, (last, Go::Fail, Go::On, low)]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel would.
    fn run(program: &[u64], number: u32, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = [number, arch, 0, 0].to_vec();
        args.iter()
            .for_each(|arg| data.extend([*arg as u32, (arg >> 32) as u32]));
        let (mut at, mut value) = (0, 0u32);
        loop {
            let word = program[at];
            let (code, yes, no, k) = (word as u16, (word >> 16) as u8, (word >> 24) as u8, (word >> 32) as u32);
            at += 1;
            let holds = match code {
                LOAD => {
                    value = data[k as usize / 4];
                    continue;
                }
                AND => {
                    value &= k;
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                RETURN => return k,
                IF_EQUAL => value == k,
                IF_GREATER => value > k,
                IF_AT_LEAST => value >= k,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if holds { yes } else { no });
        }
    }

    fn profile(text: &str) -> Filter {
        compile(&serde_json::from_str(text).unwrap()).unwrap()
    }

    const ALLOW: u32 = 0x7fff_0000;

    #[test]
    fn each_comparison_is_exact() {
        let values = [
            0,
            1,
            7,
            8,
            9,
            1 << 32,
            (1 << 32) + 7,
            (1 << 32) + 8,
            (1 << 32) + 9,
            (2 << 32) + 8,
            u64::MAX,
        ];
        for wanted in values {
            type Holds = fn(u64, u64) -> bool;
            let ops: [(&str, Holds); 7] = [
                ("SCMP_CMP_EQ", |a, b| a == b),
                ("SCMP_CMP_NE", |a, b| a != b),
                ("SCMP_CMP_LT", |a, b| a < b),
                ("SCMP_CMP_LE", |a, b| a <= b),
                ("SCMP_CMP_GT", |a, b| a > b),
                ("SCMP_CMP_GE", |a, b| a >= b),
                ("SCMP_CMP_MASKED_EQ", |a, b| a & b == 8),
            ];
            for (op, holds) in ops {
                let text = format!(
                    r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],
                    "action":"SCMP_ACT_ALLOW","args":[{{"index":2,"value":{wanted},"valueTwo":8,"op":"{op}"}},
                    {{"index":5,"value":3,"op":"SCMP_CMP_NE"}}]}}]}}"#
                );
                let (_, program) = profile(&text);
                for given in values {
                    let run = |last| run(&program, number("read").unwrap(), ARCH, [0, 0, given, 0, 0, last]);
                    assert_eq!(run(4) == ALLOW, holds(given, wanted), "{given:#x} {op} {wanted:#x}");
                    assert_eq!(run(3), 0x0005_0001);
                }
            }
        }
    }

    #[test]
    fn the_default_profile_answers_as_its_rules_say() {
        let none = super::super::default_profile(&Default::default());
        let (_, program) = compile(&none).unwrap();
        let ask = |name: &str, args| run(&program, number(name).unwrap(), ARCH, args);
        for name in ["read", "execve", "openat2", "futex", "exit_group"] {
            assert_eq!(ask(name, [0; 6]), ALLOW, "{name}");
        }
        for name in [
            "mount",
            "bpf",
            "setns",
            "init_module",
            "kexec_load",
            "reboot",
            "add_key",
            "ptrace",
        ] {
            assert_ne!(ask(name, [0; 6]) == ALLOW, name != "ptrace", "{name}");
        }
        assert_eq!(ask("clone", [0x2000_0000, 0, 0, 0, 0, 0]), 0x0005_0001);
        assert_eq!(ask("clone", [17, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(ask("clone3", [0; 6]), 0x0005_0026);
        assert_eq!(ask("personality", [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(ask("personality", [0x0040_0000, 0, 0, 0, 0, 0]), 0x0005_0001);
        assert_eq!(ask("socket", [40, 0, 0, 0, 0, 0]), 0x0005_0001);
        assert_eq!(run(&program, number("read").unwrap(), 0x4000_0003, [0; 6]), 0x0005_0001);
        assert_eq!(run(&program, X32 | 1, ARCH, [0; 6]), 0x0005_0001);
        assert!(program.len() < 400, "{}", program.len());
    }
}
