//! Requests and limits as cgroups have them, and what a container may see of them.
//!
//! The numbers follow Kubernetes: 1,024 shares and 100 ms of quota for one processor.

use std::collections::BTreeMap;

use engine::Limits;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as RawQuantity;

const PERIOD_US: u64 = 100_000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

type Amounts = BTreeMap<String, RawQuantity>;

/// Thousandths of the unit; what doesn't parse was refused by the server, so it counts as nothing.
pub(crate) fn milli(quantity: &RawQuantity) -> i64 {
    quantity
        .0
        .parse::<meta::Quantity>()
        .map_or(0, |quantity| quantity.millis())
}

/// Whole units, rounded up.
pub(crate) fn value(quantity: &RawQuantity) -> i64 {
    quantity
        .0
        .parse::<meta::Quantity>()
        .map_or(0, |quantity| quantity.units())
}

fn amount(amounts: Option<&Amounts>, name: &str) -> Option<i64> {
    let quantity = amounts?.get(name)?;
    Some(if name == "cpu" {
        milli(quantity)
    } else {
        value(quantity)
    })
}

/// The limits of one container.
pub(crate) fn of_container(container: &Container) -> Limits {
    let empty = ResourceRequirements::default();
    let resources = container.resources.as_ref().unwrap_or(&empty);
    let cpu_request = amount(resources.requests.as_ref(), "cpu").or(amount(resources.limits.as_ref(), "cpu"));
    limits(
        cpu_request.unwrap_or(0),
        amount(resources.limits.as_ref(), "cpu"),
        amount(resources.limits.as_ref(), "memory"),
    )
}

/// The limits of all of a pod's containers together: a limit holds for the pod only when every container has one.
pub(crate) fn of_pod(pod: &Pod) -> Limits {
    let Some(spec) = &pod.spec else {
        return Limits::default();
    };
    let sum = |pick: &dyn Fn(&ResourceRequirements) -> Option<i64>| -> (i64, bool) {
        let mut total = 0;
        let mut all = true;
        for container in &spec.containers {
            match container.resources.as_ref().and_then(pick) {
                Some(amount) => total += amount,
                None => all = false,
            }
        }
        // Init containers run one by one before; the largest counts if it needs more.
        for container in spec.init_containers.iter().flatten() {
            total = total.max(container.resources.as_ref().and_then(pick).unwrap_or(0));
        }
        (total, all)
    };
    let (request, _) = sum(&|r| amount(r.requests.as_ref(), "cpu").or(amount(r.limits.as_ref(), "cpu")));
    let (cpu, cpu_all) = sum(&|r| amount(r.limits.as_ref(), "cpu"));
    let (memory, memory_all) = sum(&|r| amount(r.limits.as_ref(), "memory"));
    limits(request, cpu_all.then_some(cpu), memory_all.then_some(memory))
}

fn limits(cpu_request: i64, cpu_limit: Option<i64>, memory_limit: Option<i64>) -> Limits {
    let shares = u64::try_from(cpu_request).unwrap_or(0) * 1024 / 1000;
    Limits {
        cpu_shares: Some(shares.clamp(MIN_SHARES, MAX_SHARES)),
        // The kernel takes nothing under a millisecond.
        cpu_quota: cpu_limit
            .filter(|limit| *limit > 0)
            .map(|limit| (limit * PERIOD_US as i64 / 1000).max(1000)),
        cpu_period: cpu_limit.map(|_| PERIOD_US),
        memory: memory_limit.filter(|limit| *limit > 0),
        ..Limits::default()
    }
}

/// How eager the kernel is to kill it when memory is short, by the pod's quality of service.
pub(crate) fn oom_score_adj(pod: &Pod, container: &Container, node_memory: u64) -> i32 {
    let class = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    if pod
        .spec
        .as_ref()
        .and_then(|spec| spec.priority)
        .is_some_and(|priority| priority >= 2_000_000_000)
    {
        return -997;
    }
    match class {
        Some("Guaranteed") => -997,
        Some("BestEffort") | None => 1000,
        _ => {
            let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
            let request = u64::try_from(amount(requests, "memory").unwrap_or(0)).unwrap_or(0);
            let share = 1000 - i64::try_from(1000 * request / node_memory.max(1)).unwrap_or(1000);
            // Between guaranteed and best effort, whatever the share.
            i32::try_from(share.clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// A `resourceFieldRef`: the amount divided by the divisor, rounded up. A limit that isn't set is the node's size.
pub(crate) fn field(pod: &Pod, container: &Container, selector: &ResourceFieldSelector) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => container,
        Some(name) => spec
            .into_iter()
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
    };
    let (side, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| unsupported(&selector.resource))?;
    let resources = container.resources.as_ref();
    let amounts = match side {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unsupported(&selector.resource)),
    };
    let in_milli = match amounts.and_then(|amounts| amounts.get(name)) {
        Some(quantity) => i128::from(milli(quantity)),
        None if side == "requests" => 0,
        None => match name {
            "cpu" => i128::from(crate::machine::cpus()) * 1000,
            "memory" => i128::from(crate::machine::memory()) * 1000,
            "ephemeral-storage" => 0,
            _ => return Err(unsupported(&selector.resource)),
        },
    };
    let divisor = selector.divisor.as_ref().map_or(0, milli);
    let divisor = if divisor <= 0 { 1000 } else { i128::from(divisor) };
    Ok(((in_milli + divisor - 1) / divisor).to_string())
}

fn unsupported(resource: &str) -> String {
    format!("unsupported container resource : {resource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let map = |pairs: &[(&str, &str)]| {
            Some(
                pairs
                    .iter()
                    .map(|(k, v)| (k.to_string(), RawQuantity(v.to_string())))
                    .collect::<BTreeMap<_, _>>(),
            )
        };
        let resources = ResourceRequirements {
            requests: map(requests),
            limits: map(limits),
            ..Default::default()
        };
        Container {
            name: "c".to_string(),
            resources: Some(resources),
            ..Default::default()
        }
    }

    #[test]
    fn cgroup_numbers() {
        let of = |requests, limits| of_container(&container(requests, limits));
        assert_eq!(of(&[], &[]).cpu_shares, Some(2));
        let limited = of(&[("cpu", "250m")], &[("cpu", "500m"), ("memory", "64Mi")]);
        assert_eq!(
            (limited.cpu_shares, limited.cpu_quota, limited.memory),
            (Some(256), Some(50_000), Some(64 << 20))
        );
        assert_eq!(of(&[], &[("cpu", "1m")]).cpu_quota, Some(1000));
    }

    #[test]
    fn a_pod_is_limited_only_when_all_its_containers_are() {
        let pod = |containers| Pod {
            spec: Some(k8s_openapi::api::core::v1::PodSpec {
                containers,
                ..Default::default()
            }),
            ..Default::default()
        };
        let limited = container(&[], &[("memory", "1Mi"), ("cpu", "1")]);
        let open = container(&[("cpu", "1")], &[]);
        assert_eq!(
            of_pod(&pod(vec![limited.clone(), limited.clone()])).memory,
            Some(2 << 20)
        );
        let mixed = of_pod(&pod(vec![limited, open]));
        assert_eq!(
            (mixed.memory, mixed.cpu_quota, mixed.cpu_shares),
            (None, None, Some(2048))
        );
    }

    #[test]
    fn fields_are_rounded_up() {
        let c = container(&[("cpu", "1250m")], &[("memory", "65Mi")]);
        let field = |resource: &str, divisor: &str| {
            let divisor = Some(RawQuantity(divisor.to_string()));
            let selector = ResourceFieldSelector {
                resource: resource.to_string(),
                divisor,
                container_name: None,
            };
            field(&Pod::default(), &c, &selector)
        };
        assert_eq!(field("requests.cpu", "0").as_deref(), Ok("2"));
        assert_eq!(field("requests.cpu", "1m").as_deref(), Ok("1250"));
        assert_eq!(field("limits.memory", "1Mi").as_deref(), Ok("65"));
        assert_eq!(field("requests.memory", "1").as_deref(), Ok("0"));
        assert!(field("limits.unknown", "1").is_err());
    }
}
