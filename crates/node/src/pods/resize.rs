//! Resizing running containers: whether there is room, and in what way each one changes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

use super::observed::World;
use super::plan::is_sidecar;
use crate::bundle::resources::{milli, value};

/// The resources that running containers have, by the containers' names.
pub(crate) type Applied = BTreeMap<String, ResourceRequirements>;

/// What the node has, and how much of it other pods have asked for: thousandths of processors and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) capacity: [i64; 2],
    pub(super) used: [i64; 2],
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// All containers have what they should.
    Nothing,
    /// There is no room now (`Deferred`) or will never be (`Infeasible`), and why.
    Pending(&'static str, String),
    /// These change, as they run.
    Change(Vec<String>),
    /// These change by being restarted, and the others as they run.
    Restart(Vec<String>),
}

/// Compares what is with what should be.
pub(super) fn decide(spec: &PodSpec, applied: &Applied, world: &World, room: &Room) -> Decision {
    let differ: Vec<&Container> = resizable(spec)
        .filter(|container| {
            world
                .get(&container.name)
                .is_some_and(|observed| observed.running().is_some())
        })
        .filter(|container| {
            applied
                .get(&container.name)
                .is_some_and(|has| *has != wanted(container))
        })
        .collect();
    if differ.is_empty() {
        return Decision::Nothing;
    }
    let needs = requests(spec);
    for (at, name) in ["cpu", "memory"].into_iter().enumerate() {
        if needs[at] > room.capacity[at] {
            let text = format!(
                "Node didn't have enough capacity: {name}, requested: {}, capacity: {}",
                needs[at], room.capacity[at]
            );
            return Decision::Pending("Infeasible", text);
        }
        if needs[at] + room.used[at] > room.capacity[at] {
            let text = format!(
                "Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
                needs[at], room.used[at], room.capacity[at]
            );
            return Decision::Pending("Deferred", text);
        }
    }
    let restarts = differ
        .iter()
        .filter(|container| restarts(container, &applied[&container.name]));
    let restarts: Vec<String> = restarts.map(|container| container.name.clone()).collect();
    match restarts.is_empty() {
        true => Decision::Change(differ.iter().map(|container| container.name.clone()).collect()),
        false => Decision::Restart(restarts),
    }
}

/// What a container should have.
pub(super) fn wanted(container: &Container) -> ResourceRequirements {
    container.resources.clone().unwrap_or_default()
}

fn resizable(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container));
    spec.containers.iter().chain(sidecars)
}

/// Whether a resource that changes is one for which the container wants to be restarted.
fn restarts(container: &Container, has: &ResourceRequirements) -> bool {
    let wanted = wanted(container);
    let changes = |name: &str| {
        let of = |resources: &ResourceRequirements| {
            let amount = |list: &Option<BTreeMap<_, _>>| list.as_ref().and_then(|list| list.get(name).cloned());
            (amount(&resources.requests), amount(&resources.limits))
        };
        of(has) != of(&wanted)
    };
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| policy.restart_policy == "RestartContainer" && changes(&policy.resource_name))
}

/// What a pod asks for: the sum of its containers, or its largest init container if that is more.
fn requests(spec: &PodSpec) -> [i64; 2] {
    let of = |container: &Container| {
        let requests = container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        let cpu = requests.and_then(|requests| requests.get("cpu")).map_or(0, milli);
        let memory = requests.and_then(|requests| requests.get("memory")).map_or(0, value);
        [cpu, memory]
    };
    let mut sum = [0; 2];
    for container in resizable(spec) {
        let [cpu, memory] = of(container);
        sum = [sum[0] + cpu, sum[1] + memory];
    }
    for container in spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| !is_sidecar(container))
    {
        let [cpu, memory] = of(container);
        sum = [sum[0].max(cpu), sum[1].max(memory)];
    }
    sum
}

/// The room that other pods leave. Pods that have ended take none.
pub(super) fn room(pods: &[std::sync::Arc<Pod>], uid: Option<&str>, capacity: [i64; 2]) -> Room {
    let mut used = [0; 2];
    let over = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    for pod in pods
        .iter()
        .filter(|pod| pod.metadata.uid.as_deref() != uid && !over(pod))
    {
        let [cpu, memory] = pod.spec.as_ref().map_or([0; 2], requests);
        used = [used[0] + cpu, used[1] + memory];
    }
    Room { capacity, used }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ContainerResizePolicy;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::super::observed::tests::running;
    use super::*;

    fn cpu(amount: &str) -> ResourceRequirements {
        ResourceRequirements {
            requests: Some([("cpu".to_string(), Quantity(amount.to_string()))].into()),
            ..ResourceRequirements::default()
        }
    }

    fn check(amount: &str, policy: Option<&str>, used: i64) -> Decision {
        let policy = policy.map(|policy| ContainerResizePolicy {
            resource_name: "cpu".into(),
            restart_policy: policy.into(),
        });
        let container = Container {
            name: "a".into(),
            resources: Some(cpu(amount)),
            resize_policy: policy.map(|policy| vec![policy]),
            ..Container::default()
        };
        let spec = PodSpec {
            containers: vec![container],
            ..PodSpec::default()
        };
        let applied = Applied::from([("a".to_string(), cpu("100m"))]);
        let world = World::from([("a".to_string(), running(0, 0))]);
        let room = Room {
            capacity: [2000, 0],
            used: [used, 0],
        };
        decide(&spec, &applied, &world, &room)
    }

    #[test]
    fn decisions() {
        assert_eq!(check("100m", None, 0), Decision::Nothing);
        assert_eq!(check("200m", None, 0), Decision::Change(vec!["a".into()]));
        assert_eq!(
            check("200m", Some("NotRequired"), 0),
            Decision::Change(vec!["a".into()])
        );
        assert_eq!(
            check("200m", Some("RestartContainer"), 0),
            Decision::Restart(vec!["a".into()])
        );
        assert!(matches!(check("3", None, 0), Decision::Pending("Infeasible", _)));
        assert!(matches!(check("1", None, 1500), Decision::Pending("Deferred", _)));
    }
}
