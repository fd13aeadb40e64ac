//! From the API's pods and nodes to the scheduler's. Reads only; what it does not understand never places a pod wrongly.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use meta::ObjectKey;
use smallvec::SmallVec;

use crate::intern::Sym;
use crate::model::{Effect, HostPort, NodeSpec, Pod, Resources, Taint, Toleration};
use crate::terms::{Operator, Requirement, Term};

/// The name that pods get when they name no scheduler.
const OUR_NAME: &str = "default-scheduler";
/// What a container counts for in scores when it requests nothing: a tenth of a core and 200 MiB.
const NOMINAL: (i64, i64) = (100, 200 << 20);

type Quantities = Option<BTreeMap<String, Quantity>>;

/// The pod, unless it has ended: an ended pod takes nothing and wants nothing.
pub(crate) fn pod(pod: &core::Pod) -> Option<Pod> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    if matches!(
        status.and_then(|status| status.phase.as_deref()),
        Some("Succeeded" | "Failed")
    ) {
        return None;
    }
    let meta = &pod.metadata;
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name == OUR_NAME);
    let node = spec.node_name.as_deref().filter(|name| !name.is_empty()).map(Sym::of);
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let preferred =
        affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let told = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| {
            let condition = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
            (condition.status == "False").then(|| condition.message.clone().unwrap_or_default())
        });
    let owner = meta
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let (requests, nominal) = requests(spec);
    Some(Pod {
        key: ObjectKey {
            namespace: meta.namespace.clone(),
            name: meta.name.clone().unwrap_or_default(),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        wants_node: node.is_none() && ours && !gated && meta.deletion_timestamp.is_none(),
        node,
        priority: spec.priority.unwrap_or(0),
        may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
        created: meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        requests,
        nominal,
        selector: pairs(spec.node_selector.as_ref()),
        required: required.map(|selector| selector.node_selector_terms.iter().map(term).collect()),
        preferred: preferred
            .into_iter()
            .flatten()
            .map(|wish| (wish.weight, term(&wish.preference)))
            .collect(),
        tolerations: spec.tolerations.iter().flatten().map(toleration).collect(),
        ports: ports(spec),
        owner: owner.map(|owner| {
            let mut hasher = DefaultHasher::new();
            owner.uid.hash(&mut hasher);
            hasher.finish()
        }),
        told,
    })
}

/// The node.
pub(crate) fn node(node: &core::Node) -> NodeSpec {
    let spec = node.spec.clone().unwrap_or_default();
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
    let max_pods = allocatable.as_ref().and_then(|all| all.get("pods")).map_or(0, units);
    let mut labels = pairs(node.metadata.labels.as_ref());
    labels.sort_unstable_by_key(|(key, _)| *key);
    NodeSpec {
        name: node.metadata.name.clone().unwrap_or_default(),
        labels,
        taints: spec.taints.iter().flatten().filter_map(taint).collect(),
        unschedulable: spec.unschedulable.unwrap_or(false),
        allocatable: amounts(&allocatable),
        max_pods,
    }
}

fn pairs(map: Option<&BTreeMap<String, String>>) -> Vec<(Sym, Sym)> {
    map.into_iter()
        .flatten()
        .map(|(key, value)| (Sym::of(key), Sym::of(value)))
        .collect()
}

fn units(quantity: &Quantity) -> i64 {
    quantity.0.parse::<meta::Quantity>().map_or(0, meta::Quantity::units)
}

fn millis(quantity: &Quantity) -> i64 {
    quantity.0.parse::<meta::Quantity>().map_or(0, meta::Quantity::millis)
}

fn amounts(quantities: &Quantities) -> Resources {
    let mut sum = Resources::default();
    for (name, quantity) in quantities.iter().flatten() {
        match name.as_str() {
            "cpu" => sum.cpu = millis(quantity),
            "memory" => sum.memory = units(quantity),
            "ephemeral-storage" => sum.ephemeral = units(quantity),
            "pods" => {}
            other => sum.extended.push((Sym::of(other), units(quantity))),
        }
    }
    sum
}

/// What a pod takes at most at any time: its containers and sidecars together, or an init container with the sidecars
/// started before it, whichever is more; pod-level requests replace that; overhead comes on top.
fn requests(spec: &core::PodSpec) -> (Resources, (i64, i64)) {
    let of = |container: &core::Container| {
        amounts(
            &container
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.clone()),
        )
    };
    let nominal = |amounts: &Resources| {
        (
            if amounts.cpu == 0 { NOMINAL.0 } else { amounts.cpu },
            if amounts.memory == 0 { NOMINAL.1 } else { amounts.memory },
        )
    };
    let (mut sum, mut scored) = (Resources::default(), (0, 0));
    for container in &spec.containers {
        let amounts = of(container);
        let (cpu, memory) = nominal(&amounts);
        scored = (scored.0 + cpu, scored.1 + memory);
        sum.add(&amounts);
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut amounts = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            let (cpu, memory) = nominal(&amounts);
            scored = (scored.0 + cpu, scored.1 + memory);
            sum.add(&amounts);
            sidecars.add(&amounts);
            peak.max(&sidecars);
        } else {
            amounts.add(&sidecars);
            peak.max(&amounts);
        }
    }
    sum.max(&peak);
    if let Some(level) = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref())
    {
        if let Some(cpu) = level.get("cpu") {
            sum.cpu = millis(cpu);
        }
        if let Some(memory) = level.get("memory") {
            sum.memory = units(memory);
        }
    }
    let overhead = amounts(&spec.overhead);
    sum.add(&overhead);
    let scored = (
        scored.0.max(sum.cpu) + overhead.cpu,
        scored.1.max(sum.memory) + overhead.memory,
    );
    (sum, scored)
}

fn ports(spec: &core::PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let address = port
                .host_ip
                .as_deref()
                .filter(|ip| !matches!(*ip, "" | "0.0.0.0"))
                .map(Sym::of);
            let protocol = Sym::of(port.protocol.as_deref().unwrap_or("TCP"));
            Some(HostPort {
                address,
                protocol,
                port: number,
            })
        })
        .collect()
}

fn effect(text: &str) -> Option<Effect> {
    match text {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}

fn taint(taint: &core::Taint) -> Option<Taint> {
    let value = Sym::of(taint.value.as_deref().unwrap_or_default());
    Some(Taint {
        key: Sym::of(&taint.key),
        value,
        effect: effect(&taint.effect)?,
    })
}

fn toleration(toleration: &core::Toleration) -> Toleration {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    Toleration {
        key: given(&toleration.key).map(|key| Sym::of(&key)),
        value: (!exists).then(|| Sym::of(toleration.value.as_deref().unwrap_or_default())),
        effect: toleration.effect.as_deref().and_then(effect),
    }
}

fn term(term: &core::NodeSelectorTerm) -> Term {
    Term {
        labels: term.match_expressions.iter().flatten().map(requirement).collect(),
        names: term.match_fields.iter().flatten().map(requirement).collect(),
    }
}

fn requirement(requirement: &core::NodeSelectorRequirement) -> Requirement {
    let values = || -> SmallVec<[Sym; 2]> {
        requirement
            .values
            .iter()
            .flatten()
            .map(|value| Sym::of(value))
            .collect()
    };
    let number = || {
        requirement
            .values
            .iter()
            .flatten()
            .next()
            .and_then(|value| value.parse().ok())
    };
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In(values()),
        "NotIn" => Operator::NotIn(values()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => number().map_or(Operator::Never, Operator::Greater),
        "Lt" => number().map_or(Operator::Never, Operator::Less),
        _ => Operator::Never,
    };
    Requirement {
        key: Sym::of(&requirement.key),
        operator,
    }
}
