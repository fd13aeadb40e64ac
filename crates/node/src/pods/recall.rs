//! What the API still says of containers of which this node has no trace any more: those of before `gantry down`, a new
//! boot, a lost disk. Pure. They count as ended, so that a finished pod stays finished, and a restart is counted as one.

use engine::{ContainerId, Exit};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use super::observed::{Observed, Run, RunState, World};

/// As Kubernetes has it for a container that can't be located any more.
const LOST: i32 = 137;

/// Adds to `world` the containers that ran according to the pod's status and that it doesn't have. Only for a pod that
/// has lost its sandbox too: in a sandbox that is there, the engine's word counts alone.
pub(crate) fn recall(world: &mut World, pod: &Pod, now: Timestamp) {
    let Some(status) = &pod.status else { return };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    for status in lists.into_iter().flatten().flatten() {
        let known = world
            .get(&status.name)
            .is_some_and(|observed| observed.current.is_some());
        if known {
            continue;
        }
        if let Some(run) = run_of(status, now) {
            let observed = Observed {
                current: Some(run),
                lost: true,
                crashes: 1,
                ..Observed::default()
            };
            world.insert(status.name.clone(), observed);
        }
    }
}

fn run_of(status: &ContainerStatus, now: Timestamp) -> Option<Run> {
    let id = status.container_id.as_deref()?.strip_prefix("gantry://")?;
    let ended = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    let running = status.state.as_ref().and_then(|state| state.running.as_ref());
    let state = match running {
        Some(running) => {
            let exit = Exit {
                code: LOST,
                signal: None,
                oom_killed: false,
                started_at: running.started_at.as_ref().map(|time| time.0),
                finished_at: now,
                uncertain: true,
            };
            let message = "The container could not be located when the pod was started again";
            RunState::Exited(exit, Some(message.to_owned()))
        }
        // One that waits for its next start has ended before.
        None => exited(ended(&status.state).or_else(|| ended(&status.last_state))?, now),
    };
    Some(Run {
        id: ContainerId::new(id).ok()?,
        attempt: u32::try_from(status.restart_count).unwrap_or(0),
        state,
        image: status.image.clone(),
        image_id: status.image_id.clone(),
    })
}

fn exited(terminated: ContainerStateTerminated, now: Timestamp) -> RunState {
    let reason = terminated.reason.as_deref();
    let exit = Exit {
        code: terminated.exit_code,
        signal: terminated.signal,
        oom_killed: reason == Some("OOMKilled"),
        started_at: terminated.started_at.map(|time| time.0),
        finished_at: terminated.finished_at.map_or(now, |time| time.0),
        uncertain: reason == Some("ContainerStatusUnknown"),
    };
    RunState::Exited(exit, terminated.message)
}

#[cfg(test)]
mod tests {
    use super::super::observed::tests::{at, running};
    use super::super::plan::{Phase, Step, phase, plan};
    use super::*;
    use serde_json::{Value, json};

    fn pod(policy: &str, inits: Value, containers: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {
                "restartPolicy": policy,
                "initContainers": [{"name": "i"}],
                "containers": [{"name": "c"}],
            },
            "status": {"initContainerStatuses": inits, "containerStatuses": containers},
        }))
        .unwrap()
    }

    fn status(name: &str, restarts: i32, state: Value) -> Value {
        json!([{
            "name": name, "image": "img", "imageID": "sha256:1", "ready": true, "restartCount": restarts,
            "containerID": format!("gantry://{name}{restarts}"), "state": state,
        }])
    }

    fn finished(code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00Z"}})
    }

    fn recalled(pod: &Pod) -> World {
        let mut world = World::new();
        recall(&mut world, pod, at(0));
        world
    }

    #[test]
    fn a_finished_pod_stays_finished() {
        let pod = pod("Never", status("i", 0, finished(0)), status("c", 0, finished(3)));
        let world = recalled(&pod);
        let spec = pod.spec.unwrap();
        assert_eq!(phase(&spec, &world), Phase::Failed);
        assert_eq!(plan(&spec, &world, Timestamp::now()), []);
    }

    #[test]
    fn a_pod_that_ran_begins_anew_and_counts_it() {
        let state = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let pod = pod("Always", status("i", 0, finished(0)), status("c", 2, state));
        let mut world = recalled(&pod);
        let spec = pod.spec.unwrap();
        assert_eq!(
            plan(&spec, &world, Timestamp::now()),
            [Step::Start("i".into())],
            "init containers prepare the new sandbox"
        );
        assert_eq!(world["c"].next_attempt(), 3);
        let exit = *world["c"].exit().unwrap();
        assert!(exit.uncertain && exit.code == 137);
        let done = world.get_mut("i").unwrap();
        *done = Observed {
            lost: false,
            ..done.clone()
        };
        assert_eq!(plan(&spec, &world, Timestamp::now()), [Step::Start("c".into())]);
    }

    #[test]
    fn what_the_engine_knows_counts() {
        let pod = pod("Always", status("i", 0, finished(0)), status("c", 2, finished(1)));
        let mut world = World::from([("c".to_owned(), running(4, 0))]);
        recall(&mut world, &pod, at(0));
        assert_eq!(world["c"], running(4, 0));
    }

    #[test]
    fn what_never_ran_is_not_recalled() {
        let waiting = json!([{"name": "c", "image": "img", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}]);
        assert!(recalled(&pod("Always", json!([]), waiting)).is_empty());
    }
}
