//! Plans are checked as lists of steps, without a kernel.

use std::path::PathBuf;

use shim::plan::{Op, Plan as Encoded};

use super::{Place, Plan, container, park};
use crate::{RootFs, bundle};

fn plan(change: impl FnOnce(&mut oci_spec::runtime::Spec), place: &Place) -> Plan {
    let mut spec = bundle::default_spec();
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(vec!["/program".into()]));
    }
    change(&mut spec);
    container(&spec, &RootFs::Dir("/root-of-it".into()), place).unwrap()
}

fn position(plan: &Plan, op: Op) -> usize {
    plan.child
        .iter()
        .position(|step| step.op == op)
        .unwrap_or_else(|| panic!("no {op:?}"))
}

#[test]
fn privileges_go_in_an_order_that_the_kernel_allows() {
    let filter = Some((0, vec![6u64].into()));
    let place = Place {
        filter: filter.clone(),
        ..Place::default()
    };
    let before = plan(|_| {}, &place);
    assert!(position(&before, Op::Bounding) < position(&before, Op::User));
    assert!(position(&before, Op::KeepCaps) < position(&before, Op::User));
    assert!(position(&before, Op::User) < position(&before, Op::Seccomp));
    let last_caps = before.child.iter().rposition(|step| step.op == Op::Caps).unwrap();
    assert!(position(&before, Op::Seccomp) < last_caps);
    let unprivileged = |spec: &mut oci_spec::runtime::Spec| {
        if let Some(process) = spec.process_mut() {
            process.set_no_new_privileges(Some(true));
        }
    };
    let after = plan(unprivileged, &place);
    assert_eq!(after.child.len() - 2, position(&after, Op::Seccomp));
    assert!(position(&after, Op::NoNewPrivs) < position(&after, Op::Seccomp));
    assert_eq!(after.child.last().map(|step| step.op), Some(Op::Exec));
}

#[test]
fn a_parked_process_does_once_what_all_need() {
    let place = Place {
        net: Some("/ns/net".into()),
        cgroup_procs: vec![PathBuf::from("/cg/cgroup.procs")],
        parked: true,
        ..Place::default()
    };
    let waiting = park(&place).unwrap();
    let ops: Vec<_> = waiting.child.iter().map(|step| step.op).collect();
    assert_eq!(ops, [Op::DieWithParent, Op::WriteFile, Op::Setns, Op::Await]);
    let rest = plan(|_| {}, &place);
    assert!(
        rest.child
            .iter()
            .all(|step| step.op != Op::Setns && !step.strings.iter().any(|s| s.starts_with("/cg")))
    );
    assert!(rest.child.iter().any(|step| step.op == Op::Unshare));
}

#[test]
fn what_is_written_is_what_the_shim_reads() {
    let plan = plan(|_| {}, &Place::default());
    let bytes = plan.encode().unwrap();
    let read = Encoded::parse(&bytes).unwrap();
    assert_eq!(read.clone_flags, plan.clone_flags);
    let records: Vec<_> = read.child.map(Option::unwrap).collect();
    assert_eq!(records.len(), plan.child.len());
    for (record, step) in records.iter().zip(&plan.child) {
        assert_eq!(
            (record.op, record.args(), usize::from(record.count)),
            (step.op, step.args.len(), step.strings.len())
        );
        step.args
            .iter()
            .enumerate()
            .for_each(|(at, arg)| assert_eq!(record.arg(at), *arg));
        for (at, string) in step.strings.iter().enumerate() {
            assert_eq!(record.str(at).strip_suffix(b"\0"), Some(string.as_bytes()));
        }
    }
    assert!(Encoded::parse(&bytes[..bytes.len() - 1]).is_none());
}
