//! The plan of a further process in a container: its namespaces by a descriptor, then the same rules as the first.

use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use shim::plan::Op;

use super::container::{CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, namespace, text};
use super::{Plan, Step, process};
use crate::{Error, ExecSpec, Result};

/// Where the container is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) cgroup_procs: Vec<PathBuf>,
    pub(crate) cgroup_dir: Option<PathBuf>,
    pub(crate) filter: Option<(u64, Arc<[u64]>)>,
}

/// The plan of `exec` beside the process of `spec`.
pub(crate) fn exec(spec: &Spec, exec: &ExecSpec, target: &Target) -> Result<Plan> {
    if exec.args.is_empty() {
        return Err(Error::Invalid("no program to run".into()));
    }
    let mut spec = spec.clone();
    let first = spec
        .process_mut()
        .as_mut()
        .ok_or_else(|| Error::Invalid("no process".into()))?;
    first.set_args(Some(exec.args.clone()));
    first.set_terminal(Some(exec.tty));
    if let Some(cwd) = &exec.cwd {
        first.set_cwd(cwd.into());
    }
    let mut env = first.env().clone().unwrap_or_default();
    for (name, value) in &exec.env {
        env.retain(|entry| entry.split('=').next() != Some(name));
        env.push(format!("{name}={value}"));
    }
    if exec.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    first.set_env(Some(env));
    let score = first.oom_score_adj();
    let streams = match exec.size.unwrap_or((0, 0)) {
        (rows, cols) if exec.tty => process::Streams::Terminal(rows.into(), cols.into()),
        _ => process::Streams::Handed,
    };
    let mut plan = Plan::default();
    plan.parent.push(Step::new(Op::Process).args([u64::from(exec.tty)]));
    if namespace(&spec, LinuxNamespaceType::Pid).is_some() {
        plan.parent.push(Step::new(Op::ParentSetnsFd));
    }
    if let Some(dir) = &target.cgroup_dir {
        plan.parent.push(Step::new(Op::Cgroup).strings([text(dir)?]));
    }
    let steps = &mut plan.child;
    steps.push(Step::new(Op::DieWithParent).args([9]));
    for file in &target.cgroup_procs {
        steps.push(Step::new(Op::WriteFile).args([0]).strings([text(file)?.as_str(), "0"]));
    }
    if let Some(score) = score {
        steps.push(Step::new(Op::OomScore).strings([score.to_string()]));
    }
    let all = [
        (LinuxNamespaceType::Mount, CLONE_NEWNS),
        (LinuxNamespaceType::Cgroup, CLONE_NEWCGROUP),
        (LinuxNamespaceType::Uts, CLONE_NEWUTS),
        (LinuxNamespaceType::Ipc, CLONE_NEWIPC),
        (LinuxNamespaceType::Network, CLONE_NEWNET),
    ];
    let types = all
        .iter()
        .filter(|(kind, _)| namespace(&spec, *kind).is_some())
        .fold(0, |sum, (_, flag)| sum | flag);
    steps.push(Step::new(Op::SetnsFd).args([types]));
    process::steps(&spec, target.filter.as_ref(), streams, steps)?;
    Ok(plan)
}
