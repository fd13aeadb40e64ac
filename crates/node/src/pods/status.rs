//! The status that a pod's containers come to. Pure: from the pod and what is observed to `PodStatus`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ephemeral;
use super::observed::{Observed, Run, RunState, World};
use super::plan::{Phase, is_sidecar, phase};
use super::resize::Applied;

/// What the status depends on besides the pod and its containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) host_ip: String,
    pub(crate) pod_ips: Vec<String>,
    /// The sandbox is there.
    pub(crate) sandbox: bool,
    /// Why the pod failed as a whole: reason and message.
    pub(crate) failure: Option<(String, String)>,
    /// This node turned the pod away; nothing of it was ever here.
    pub(crate) refused: bool,
    /// The pod is being deleted and its containers have been told.
    pub(crate) terminating: bool,
    /// What running containers have.
    pub(crate) applied: Applied,
    /// Why a resize waits: reason and message.
    pub(crate) resize_pending: Option<(String, String)>,
    /// Why a resize failed on the way.
    pub(crate) resize_error: Option<String>,
}

/// Computes the status; conditions that did not change keep their transition times from the pod's.
pub(crate) fn compute(pod: &Pod, world: &World, facts: &Facts, now: Timestamp) -> PodStatus {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let old = pod.status.clone().unwrap_or_default();
    let phase = if facts.failure.is_some() {
        Phase::Failed
    } else {
        phase(spec, world)
    };
    if facts.refused {
        return refused(pod, old, facts, now);
    }
    // What kubelets say of any container that hasn't begun: kubectl counts the init containers then.
    let prepared = spec.init_containers.as_ref().is_none_or(Vec::is_empty);
    let statuses = |containers: &[Container], init: bool| -> Vec<ContainerStatus> {
        containers
            .iter()
            .map(|c| container_status(c, world.get(&c.name), prepared, init, facts, phase))
            .collect()
    };
    let main = statuses(&spec.containers, false);
    let inits = statuses(spec.init_containers.as_deref().unwrap_or_default(), true);
    let ephemeral: Vec<ContainerStatus> = ephemeral::containers(spec)
        .map(|container| ContainerStatus {
            ready: false,
            started: None,
            ..container_status(&container, world.get(&container.name), prepared, false, facts, phase)
        })
        .collect();
    let host_ip = Some(facts.host_ip.clone()).filter(|ip| !ip.is_empty());
    PodStatus {
        phase: Some(phase.as_str().to_string()),
        reason: facts.failure.as_ref().map(|(reason, _)| reason.clone()),
        message: facts.failure.as_ref().map(|(_, message)| message.clone()),
        host_ips: host_ip.clone().map(|ip| vec![HostIP { ip }]),
        host_ip,
        pod_ip: facts.pod_ips.first().cloned(),
        pod_ips: (!facts.pod_ips.is_empty()).then(|| facts.pod_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
        start_time: old.start_time.clone().or(Some(Time(now))),
        conditions: Some(conditions(pod, spec, world, &main, &old, facts, phase, now)),
        container_statuses: Some(main),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        qos_class: old.qos_class.clone(),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// Of a pod that was turned away there is nothing to tell but why.
fn refused(pod: &Pod, old: PodStatus, facts: &Facts, now: Timestamp) -> PodStatus {
    let (reason, message) = facts.failure.clone().unzip();
    PodStatus {
        phase: Some(Phase::Failed.as_str().to_string()),
        reason,
        message,
        start_time: old.start_time.or(Some(Time(now))),
        qos_class: old.qos_class,
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn container_status(
    container: &Container,
    observed: Option<&Observed>,
    prepared: bool,
    init: bool,
    facts: &Facts,
    phase: Phase,
) -> ContainerStatus {
    let none = Observed::default();
    let observed = observed.unwrap_or(&none);
    let current = observed.current.as_ref();
    let sidecar = is_sidecar(container);
    let succeeded = init && !sidecar && observed.exit().is_some_and(|exit| exit.code == 0);
    let ready = if init && !sidecar {
        succeeded
    } else {
        observed.running().is_some() && observed.ready
    };
    let (state, last) = states(observed, prepared, facts, phase, succeeded);
    let image = current
        .map(|run| run.image.clone())
        .or(container.image.clone())
        .unwrap_or_default();
    let resources = facts.applied.get(&container.name).or(container.resources.as_ref());
    ContainerStatus {
        name: container.name.clone(),
        image,
        image_id: current.map(|run| run.image_id.clone()).unwrap_or_default(),
        container_id: current.map(container_id),
        ready: ready && !facts.terminating || succeeded,
        started: Some(observed.running().is_some() && observed.started),
        restart_count: current.map_or(0, |run| i32::try_from(run.attempt).unwrap_or(i32::MAX)),
        state: Some(state),
        last_state: Some(last),
        allocated_resources: resources.and_then(|resources| resources.requests.clone()),
        resources: resources.cloned(),
        ..ContainerStatus::default()
    }
}

fn states(
    observed: &Observed,
    prepared: bool,
    facts: &Facts,
    phase: Phase,
    done: bool,
) -> (ContainerState, ContainerState) {
    let previous = observed.previous.as_ref().map(terminated).unwrap_or_default();
    match observed.current.as_ref() {
        Some(run) => match &run.state {
            RunState::Running(started) => {
                let running = ContainerStateRunning {
                    started_at: Some(Time(started.started_at)),
                };
                (
                    ContainerState {
                        running: Some(running),
                        ..ContainerState::default()
                    },
                    previous,
                )
            }
            // One that will start again waits; how it ended is its last state then.
            RunState::Exited(..) if observed.waiting.is_some() && !phase.is_final() && !facts.terminating && !done => {
                (waiting_state(observed, prepared), terminated(run))
            }
            RunState::Exited(..) => (terminated(run), previous),
        },
        None => (waiting_state(observed, prepared), ContainerState::default()),
    }
}

fn waiting_state(observed: &Observed, prepared: bool) -> ContainerState {
    let (reason, message) = match &observed.waiting {
        Some(waiting) => (
            waiting.reason.clone(),
            Some(waiting.message.clone()).filter(|text| !text.is_empty()),
        ),
        None if !prepared => ("PodInitializing".to_string(), None),
        None => ("ContainerCreating".to_string(), None),
    };
    let waiting = ContainerStateWaiting {
        reason: Some(reason),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..ContainerState::default()
    }
}

fn terminated(run: &Run) -> ContainerState {
    let RunState::Exited(exit, message) = &run.state else {
        return ContainerState::default();
    };
    let reason = match exit {
        exit if exit.oom_killed => "OOMKilled",
        exit if exit.uncertain => "ContainerStatusUnknown",
        exit if exit.started_at.is_none() => "StartError",
        exit if exit.code == 0 => "Completed",
        _ => "Error",
    };
    let terminated = ContainerStateTerminated {
        exit_code: exit.code,
        signal: exit.signal.filter(|_| false),
        reason: Some(reason.to_string()),
        message: message.clone(),
        started_at: exit.started_at.map(Time),
        finished_at: Some(Time(exit.finished_at)),
        container_id: Some(container_id(run)),
    };
    ContainerState {
        terminated: Some(terminated),
        ..ContainerState::default()
    }
}

fn container_id(run: &Run) -> String {
    format!("gantry://{}", run.id)
}

fn init_done(spec: &PodSpec, world: &World) -> bool {
    let began = spec
        .containers
        .iter()
        .any(|c| world.get(&c.name).is_some_and(|o| o.current.is_some()));
    began
        || spec.init_containers.iter().flatten().all(|container| {
            world
                .get(&container.name)
                .is_some_and(|observed| match is_sidecar(container) {
                    true => observed.started,
                    false => observed.exit().is_some_and(|exit| exit.code == 0),
                })
        })
}

#[expect(
    clippy::too_many_arguments,
    reason = "the inputs of one pure function, each needed once"
)]
fn conditions(
    pod: &Pod,
    spec: &PodSpec,
    world: &World,
    main: &[ContainerStatus],
    old: &PodStatus,
    facts: &Facts,
    phase: Phase,
    now: Timestamp,
) -> Vec<PodCondition> {
    let ready_names = |list: Vec<&str>, what: &str| {
        (!list.is_empty()).then(|| format!("containers with {what} status: [{}]", list.join(" ")))
    };
    let inits: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| {
            !world.get(&c.name).is_some_and(|o| match is_sidecar(c) {
                true => o.started,
                false => o.exit().is_some_and(|exit| exit.code == 0),
            })
        })
        .map(|c| c.name.as_str())
        .collect();
    let initialized = init_done(spec, world) || phase == Phase::Succeeded;
    let unready: Vec<&str> = main
        .iter()
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    let side_ready = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_sidecar(c))
        .all(|c| world.get(&c.name).is_some_and(|o| o.running().is_some() && o.ready));
    let final_reason = match phase {
        Phase::Succeeded => Some("PodCompleted"),
        Phase::Failed => Some("PodFailed"),
        _ => None,
    };
    let containers_ready = unready.is_empty() && side_ready && !phase.is_final() && !main.is_empty();
    let gates = spec.readiness_gates.iter().flatten().all(|gate| {
        old.conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == gate.condition_type && c.status == "True")
    });
    let not_ready = || match final_reason {
        Some(reason) => (Some(reason.to_string()), None),
        None => (
            Some("ContainersNotReady".to_string()),
            ready_names(unready.clone(), "unready"),
        ),
    };
    let mut list = vec![condition(
        "PodReadyToStartContainers",
        facts.sandbox && !phase.is_final(),
        (None, None),
    )];
    list.push(condition(
        "Initialized",
        initialized,
        match (initialized, final_reason) {
            (true, Some("PodCompleted")) => (Some("PodCompleted".to_string()), None),
            (true, _) => (None, None),
            _ => (
                Some("ContainersNotInitialized".to_string()),
                ready_names(inits, "incomplete"),
            ),
        },
    ));
    list.push(condition(
        "Ready",
        containers_ready && gates,
        match (containers_ready, gates) {
            (true, true) => (None, None),
            (true, false) => (
                Some("ReadinessGatesNotReady".to_string()),
                Some("corresponding condition of pod readiness gate does not exist or is not \"True\".".to_string()),
            ),
            _ => not_ready(),
        },
    ));
    list.push(condition(
        "ContainersReady",
        containers_ready,
        if containers_ready { (None, None) } else { not_ready() },
    ));
    list.push(condition("PodScheduled", true, (None, None)));
    if let Some((reason, message)) = facts.resize_pending.clone() {
        list.push(condition("PodResizePending", true, (Some(reason), Some(message))));
    }
    if let Some(message) = facts.resize_error.clone() {
        list.push(condition(
            "PodResizeInProgress",
            true,
            (Some("Error".to_string()), Some(message)),
        ));
    }
    for new in &mut list {
        let before = old.conditions.iter().flatten().find(|c| c.type_ == new.type_);
        let same = before.filter(|c| c.status == new.status);
        new.last_transition_time = same.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now)));
        new.observed_generation = pod.metadata.generation;
    }
    list
}

fn condition(kind: &str, holds: bool, (reason, message): (Option<String>, Option<String>)) -> PodCondition {
    let status = if holds { "True" } else { "False" }.to_string();
    PodCondition {
        type_: kind.to_string(),
        status,
        reason,
        message,
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::observed::Waiting;
    use super::super::observed::tests::{at, exit, run, running};
    use super::*;

    fn pod() -> Pod {
        let container = Container {
            name: "a".to_string(),
            ..Container::default()
        };
        Pod {
            spec: Some(PodSpec {
                containers: vec![container],
                ..PodSpec::default()
            }),
            ..Pod::default()
        }
    }

    fn compute_one(observed: Observed) -> PodStatus {
        compute(&pod(), &[("a".to_string(), observed)].into(), &Facts::default(), at(10))
    }

    fn condition_of(status: &PodStatus, kind: &str) -> (String, Option<String>) {
        let found = status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    #[test]
    fn a_running_pod_is_ready() {
        let status = compute_one(running(0, 0));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert_eq!(condition_of(&status, "Ready"), ("True".to_string(), None));
        assert!(status.container_statuses.unwrap()[0].ready);
    }

    #[test]
    fn a_crashing_container_waits_and_remembers() {
        let waiting = Waiting {
            reason: "CrashLoopBackOff".into(),
            message: "m".into(),
            until: at(20),
            failures: 0,
        };
        let observed = Observed {
            current: Some(run(3, RunState::Exited(exit(7, 0, 5), None))),
            waiting: Some(waiting),
            ..Observed::default()
        };
        let status = compute_one(observed);
        let container = &status.container_statuses.as_ref().unwrap()[0];
        assert_eq!(container.restart_count, 3);
        assert_eq!(
            container
                .state
                .as_ref()
                .unwrap()
                .waiting
                .as_ref()
                .unwrap()
                .reason
                .as_deref(),
            Some("CrashLoopBackOff")
        );
        assert_eq!(
            container
                .last_state
                .as_ref()
                .unwrap()
                .terminated
                .as_ref()
                .unwrap()
                .exit_code,
            7
        );
        let (ready, reason) = condition_of(&status, "Ready");
        assert_eq!(
            (ready.as_str(), reason.as_deref()),
            ("False", Some("ContainersNotReady"))
        );
    }

    #[test]
    fn what_has_not_begun_says_whether_there_is_something_before_it() {
        let reason = |status: &ContainerStatus| status.state.clone().unwrap().waiting.unwrap().reason;
        let status = compute(&pod(), &World::new(), &Facts::default(), at(1));
        let main = &status.container_statuses.unwrap()[0];
        assert_eq!(reason(main).as_deref(), Some("ContainerCreating"));
        let mut pod = pod();
        let spec = pod.spec.as_mut().unwrap();
        spec.init_containers = Some(vec![Container {
            name: "i".to_string(),
            ..Container::default()
        }]);
        let status = compute(&pod, &World::new(), &Facts::default(), at(1));
        for status in [status.container_statuses, status.init_container_statuses] {
            assert_eq!(reason(&status.unwrap()[0]).as_deref(), Some("PodInitializing"));
        }
    }

    #[test]
    fn a_pod_that_was_turned_away_says_only_why() {
        let facts = Facts {
            failure: Some(("NodePorts".to_string(), "m".to_string())),
            refused: true,
            ..Facts::default()
        };
        let status = compute(&pod(), &World::new(), &facts, at(1));
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        assert_eq!(status.reason.as_deref(), Some("NodePorts"));
        assert!(status.conditions.is_none() && status.container_statuses.is_none());
    }

    #[test]
    fn transition_times_stay_while_nothing_changes() {
        let mut pod = pod();
        let world: World = [("a".to_string(), running(0, 0))].into();
        pod.status = Some(compute(&pod, &world, &Facts::default(), at(1)));
        let again = compute(&pod, &world, &Facts::default(), at(99));
        assert_eq!(Some(again), pod.status);
    }
}
