//! What to do next for a pod: from what is wanted and what runs to steps. Pure, so that it is tested without a kernel.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::ephemeral;
use super::observed::{Observed, World};

/// A step for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start the container: its first run or another one.
    Start(String),
    /// Ask the container to end: its work is done because the pod's is.
    Stop(String),
    /// Nothing to do for this container before then.
    Wait(String, Timestamp),
}

/// Where a pod is in its life (`PodStatus.phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }

    /// The pod does not run again.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// Whether an init container is a sidecar: it goes on beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The steps towards what `spec` wants. An empty answer means that all is as it should be.
pub(crate) fn plan(spec: &PodSpec, world: &World, now: Timestamp) -> Vec<Step> {
    let mut steps = Vec::new();
    if phase(spec, world).is_final() {
        for sidecar in init(spec).filter(|container| is_sidecar(container)) {
            if of(world, sidecar).running().is_some() {
                steps.push(Step::Stop(sidecar.name.clone()));
            }
        }
        for container in ephemeral::containers(spec) {
            if of(world, &container).running().is_some() {
                steps.push(Step::Stop(container.name));
            }
        }
        return steps;
    }
    // They come whenever they come, and once.
    for container in ephemeral::containers(spec) {
        let observed = of(world, &container);
        if observed.current.is_none() {
            start(&container, &observed, now, &mut steps);
        }
    }
    if !plan_init(spec, world, now, &mut steps) {
        return steps;
    }
    for container in &spec.containers {
        let observed = of(world, container);
        if observed.running().is_none() && (observed.exit().is_none() || restarts(spec, container, &observed)) {
            start(container, &observed, now, &mut steps);
        }
    }
    steps
}

/// Steps for the init containers, one after the other; true when the main containers may run.
fn plan_init(spec: &PodSpec, world: &World, now: Timestamp, steps: &mut Vec<Step>) -> bool {
    // Those of a sandbox that is gone don't count: a new one is prepared by the init containers again.
    let main_began = spec
        .containers
        .iter()
        .map(|container| of(world, container))
        .any(|observed| observed.current.is_some() && !observed.lost);
    for container in init(spec) {
        let observed = of(world, container);
        if is_sidecar(container) {
            if observed.running().is_none() {
                start(container, &observed, now, steps);
            }
            if !observed.started && !main_began {
                return false;
            }
            continue;
        }
        // Init containers ran before the first main container did, whatever became of their traces.
        let done = main_began || observed.exit().is_some_and(|exit| exit.code == 0) && !observed.lost;
        if done {
            continue;
        }
        if observed.running().is_none() {
            start(container, &observed, now, steps);
        }
        return false;
    }
    true
}

fn start(container: &Container, observed: &Observed, now: Timestamp, steps: &mut Vec<Step>) {
    let until = observed
        .waiting
        .as_ref()
        .map(|waiting| waiting.until)
        .max(observed.restart_at());
    steps.push(match until {
        Some(until) if until > now => Step::Wait(container.name.clone(), until),
        _ => Step::Start(container.name.clone()),
    });
}

/// Whether a main container that ended starts again.
fn restarts(spec: &PodSpec, container: &Container, observed: &Observed) -> bool {
    let code = observed.exit().map_or(0, |exit| exit.code);
    match container.restart_policy.as_deref().or(spec.restart_policy.as_deref()) {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

/// The phase that the containers' states come to.
pub(crate) fn phase(spec: &PodSpec, world: &World) -> Phase {
    let never = spec.restart_policy.as_deref() == Some("Never");
    let main_began = spec
        .containers
        .iter()
        .any(|container| of(world, container).current.is_some());
    if !main_began {
        let failed = |container: &Container| {
            never && !is_sidecar(container) && of(world, container).exit().is_some_and(|exit| exit.code != 0)
        };
        return if init(spec).any(failed) {
            Phase::Failed
        } else {
            Phase::Pending
        };
    }
    let mut failed = false;
    for container in &spec.containers {
        let observed = of(world, container);
        let Some(exit) = observed.exit() else {
            // One that waits for its first start keeps the pod pending.
            return if observed.current.is_none() && !any_ended_or_runs(spec, world) {
                Phase::Pending
            } else {
                Phase::Running
            };
        };
        if restarts(spec, container, &observed) {
            return Phase::Running;
        }
        failed |= exit.code != 0;
    }
    if failed { Phase::Failed } else { Phase::Succeeded }
}

fn any_ended_or_runs(spec: &PodSpec, world: &World) -> bool {
    spec.containers
        .iter()
        .any(|container| of(world, container).current.is_some())
}

fn init(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten()
}

fn of<'a>(world: &'a World, container: &Container) -> std::borrow::Cow<'a, Observed> {
    match world.get(&container.name) {
        Some(observed) => std::borrow::Cow::Borrowed(observed),
        None => std::borrow::Cow::Owned(Observed::default()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::EphemeralContainer;

    use super::super::observed::tests::{at, exit, run, running};
    use super::super::observed::{RunState, Waiting};
    use super::*;

    fn spec(policy: &str, init: &[(&str, bool)], main: &[&str]) -> PodSpec {
        let container = |name: &str, sidecar: bool| Container {
            name: name.to_string(),
            restart_policy: sidecar.then(|| "Always".to_string()),
            ..Container::default()
        };
        PodSpec {
            restart_policy: Some(policy.to_string()),
            init_containers: Some(init.iter().map(|(name, sidecar)| container(name, *sidecar)).collect()),
            containers: main.iter().map(|name| container(name, false)).collect(),
            ..PodSpec::default()
        }
    }

    fn ended(code: i32) -> Observed {
        let current = Some(run(0, RunState::Exited(exit(code, 0, 5), None)));
        Observed {
            current,
            crashes: 1,
            ..Observed::default()
        }
    }

    fn world(pairs: &[(&str, Observed)]) -> World {
        pairs
            .iter()
            .map(|(name, observed)| (name.to_string(), observed.clone()))
            .collect()
    }

    fn check(spec: &PodSpec, pairs: &[(&str, Observed)], expected: &[Step], expected_phase: Phase) {
        let world = world(pairs);
        assert_eq!(plan(spec, &world, at(6)), expected, "{pairs:?}");
        assert_eq!(phase(spec, &world), expected_phase, "{pairs:?}");
    }

    fn start(name: &str) -> Step {
        Step::Start(name.to_string())
    }

    #[test]
    fn main_containers_start_together_after_the_init_ones() {
        let spec = spec("Always", &[("i1", false), ("i2", false)], &["a", "b"]);
        check(&spec, &[], &[start("i1")], Phase::Pending);
        check(&spec, &[("i1", running(0, 0))], &[], Phase::Pending);
        check(&spec, &[("i1", ended(0))], &[start("i2")], Phase::Pending);
        check(&spec, &[("i1", ended(1))], &[start("i1")], Phase::Pending);
        check(
            &spec,
            &[("i1", ended(0)), ("i2", ended(0))],
            &[start("a"), start("b")],
            Phase::Pending,
        );
        check(
            &spec,
            &[("a", running(0, 0)), ("b", ended(0))],
            &[start("b")],
            Phase::Running,
        );
    }

    #[test]
    fn restart_policies() {
        for (policy, code, expected, phase) in [
            ("Always", 0, vec![start("a")], Phase::Running),
            ("Always", 1, vec![start("a")], Phase::Running),
            ("OnFailure", 0, vec![], Phase::Succeeded),
            ("OnFailure", 1, vec![start("a")], Phase::Running),
            ("Never", 0, vec![], Phase::Succeeded),
            ("Never", 1, vec![], Phase::Failed),
        ] {
            check(&spec(policy, &[], &["a"]), &[("a", ended(code))], &expected, phase);
        }
        let never = spec("Never", &[("i", false)], &["a"]);
        check(&never, &[("i", ended(1))], &[], Phase::Failed);
    }

    #[test]
    fn sidecars_go_before_beside_and_after() {
        let spec = spec("Never", &[("side", true)], &["a"]);
        let unready = Observed {
            started: false,
            ..running(0, 0)
        };
        check(&spec, &[], &[start("side")], Phase::Pending);
        check(&spec, &[("side", unready)], &[], Phase::Pending);
        check(&spec, &[("side", running(0, 0))], &[start("a")], Phase::Pending);
        check(
            &spec,
            &[("side", ended(1)), ("a", running(0, 0))],
            &[start("side")],
            Phase::Running,
        );
        let stop = Step::Stop("side".to_string());
        check(
            &spec,
            &[("side", running(0, 0)), ("a", ended(0))],
            &[stop],
            Phase::Succeeded,
        );
    }

    #[test]
    fn ephemeral_containers_start_once_and_end_with_the_pod() {
        let debug = EphemeralContainer {
            name: "debug".to_string(),
            ..EphemeralContainer::default()
        };
        let spec = PodSpec {
            ephemeral_containers: Some(vec![debug]),
            ..spec("Never", &[], &["a"])
        };
        let a = ("a", running(0, 0));
        check(&spec, std::slice::from_ref(&a), &[start("debug")], Phase::Running);
        check(&spec, &[a.clone(), ("debug", running(0, 0))], &[], Phase::Running);
        check(&spec, &[a, ("debug", ended(1))], &[], Phase::Running);
        let stop = Step::Stop("debug".to_string());
        check(
            &spec,
            &[("a", ended(0)), ("debug", running(0, 0))],
            &[stop],
            Phase::Succeeded,
        );
    }

    #[test]
    fn pauses_are_waited_for() {
        let spec = spec("Always", &[], &["a"]);
        let crashed = Observed { crashes: 2, ..ended(1) };
        check(
            &spec,
            &[("a", crashed)],
            &[Step::Wait("a".to_string(), at(15))],
            Phase::Running,
        );
        let waiting = Waiting {
            reason: "x".to_string(),
            message: String::new(),
            until: at(30),
            failures: 1,
        };
        let no_image = Observed {
            waiting: Some(waiting),
            ..Observed::default()
        };
        check(
            &spec,
            &[("a", no_image)],
            &[Step::Wait("a".to_string(), at(30))],
            Phase::Pending,
        );
    }
}
