//! What a pod takes: requests and limits of its containers, its own, and the overhead of its sandbox.

use serde_json::Value;

use super::Amounts;
use crate::rules::view::View as _;

/// Which of the two lists is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// What is set aside.
    Requests,
    /// What may be reached.
    Limits,
}

/// Where the amounts of a container are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Spec,
    Allocated,
    Actuated,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            List::Requests => "requests",
            List::Limits => "limits",
        }
    }
}

/// What is wanted of the node for a pod as it runs: the most of what is asked, given and in force, so that a resize
/// counts in full until it is done; with the overhead.
pub(super) fn effective(pod: &Value, list: List) -> Amounts {
    let (status, given_up) = (pod.at("status"), is_infeasible(pod));
    let mut sum = match given_up {
        true => Amounts::default(),
        false => of_containers(pod, list, Source::Spec, given_up),
    };
    sum.raise(&of_containers(pod, list, Source::Actuated, given_up));
    if list == List::Requests && !status.list("containerStatuses").is_empty() {
        sum.raise(&of_containers(pod, list, Source::Allocated, given_up));
    }
    pod_level(pod, list, &mut sum, true);
    let overhead = Amounts::read(pod.at("spec").at("overhead"));
    let counts = |name: &str| list == List::Requests || sum.get(name).is_some_and(|amount| !amount.is_zero());
    let overhead = overhead.only(&counts);
    sum.add(&overhead);
    sum
}

/// What the specification of a pod says, without overhead.
pub fn specified(pod: &Value, list: List) -> Amounts {
    let mut sum = of_containers(pod, list, Source::Spec, false);
    pod_level(pod, list, &mut sum, false);
    sum
}

/// Whether cpu, memory or huge pages are given for the pod as a whole.
pub(super) fn has_pod_level(pod: &Value) -> bool {
    let resources = pod.at("spec").at("resources");
    ["requests", "limits"]
        .iter()
        .filter_map(|list| resources.map(list))
        .flat_map(serde_json::Map::keys)
        .any(|name| is_pod_level(name, true))
}

/// The pod's own amounts stand instead of the sum.
fn pod_level(pod: &Value, list: List, sum: &mut Amounts, huge_pages: bool) {
    let own = Amounts::read(pod.at("spec").at("resources").at(list.name()));
    for (name, amount) in own.iter().filter(|(name, _)| is_pod_level(name, huge_pages)) {
        sum.set(name, amount);
    }
}

fn is_pod_level(name: &str, huge_pages: bool) -> bool {
    matches!(name, "cpu" | "memory") || huge_pages && name.starts_with("hugepages-")
}

/// Whether the node has refused a resize for good.
fn is_infeasible(pod: &Value) -> bool {
    let conditions = pod.at("status").list("conditions").iter();
    conditions
        .filter(|condition| condition.text("type") == "PodResizePending")
        .any(|condition| condition.text("reason") == "Infeasible")
}

fn of_containers(pod: &Value, list: List, source: Source, given_up: bool) -> Amounts {
    let spec = pod.at("spec");
    let of = |container: &Value| of_container(pod, container, list, source, given_up);
    let mut sum = Amounts::default();
    for container in spec.list("containers") {
        sum.add(&of(container));
    }
    let (mut sidecars, mut peak) = (Amounts::default(), Amounts::default());
    for container in spec.list("initContainers") {
        let mut own = of(container);
        if container.text("restartPolicy") == "Always" {
            sum.add(&own);
            sidecars.add(&own);
            peak.raise(&sidecars);
        } else {
            own.add(&sidecars);
            peak.raise(&own);
        }
    }
    sum.raise(&peak);
    sum
}

fn of_container(pod: &Value, container: &Value, list: List, source: Source, given_up: bool) -> Amounts {
    let specified = container.at("resources").at(list.name());
    if source == Source::Spec {
        return Amounts::read(specified);
    }
    let statuses = ["containerStatuses", "initContainerStatuses"];
    let status = statuses
        .iter()
        .flat_map(|list| pod.at("status").list(list))
        .find(|status| status.text("name") == container.text("name"));
    if let Some(status) = status {
        let actuated = status.at("resources").at(list.name());
        if source == Source::Actuated && !actuated.is_null() {
            return Amounts::read(actuated);
        }
        if list == List::Requests && status.has("allocatedResources") {
            return Amounts::read(status.at("allocatedResources"));
        }
    }
    match given_up {
        true => Amounts::default(),
        false => Amounts::read(specified),
    }
}
