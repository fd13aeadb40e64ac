//! How Services count: each one, and its node ports and balancers.

use meta::{Format, Quantity};
use serde_json::Value;

use super::Amounts;
use crate::rules::view::View as _;

/// Resources that quotas on Services name.
pub(super) const NAMES: [&str; 4] = [
    "count/services",
    "services",
    "services.nodeports",
    "services.loadbalancers",
];

/// What a Service uses. Ports that are yet to be given count already.
pub(super) fn usage(service: &Value) -> Amounts {
    let spec = service.at("spec");
    let ports = spec.list("ports");
    let kind = spec.text("type");
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if spec.flag("allocateLoadBalancerNodePorts") == Some(false) => ports
            .iter()
            .filter(|port| port.int("nodePort").unwrap_or(0) != 0)
            .count(),
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let number = |count: usize| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi);
    let mut used = Amounts::default();
    used.set("count/services", number(1));
    used.set("services", number(1));
    used.set("services.nodeports", number(node_ports));
    used.set("services.loadbalancers", number(usize::from(kind == "LoadBalancer")));
    used
}
