//! The kernel's view of a service: its addresses and ports, and the endpoints that this node's packets may go to. Pure.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ServicePort};

use super::project::{Back, Endpoint, Front, protocol};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Where this node is.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) zone: Option<String>,
}

/// The zone that a node says it is in.
pub(super) fn zone(node: &Node) -> Option<String> {
    node.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned()
}

/// A service's rules; `None` when it needs none.
pub(super) fn service(
    front: &Front,
    backs: &[Arc<Back>],
    place: &Place,
    draining: &HashSet<IpAddr>,
) -> Option<network::Service> {
    if front.headless || front.kind == "ExternalName" || front.cluster_ips.is_empty() {
        return None;
    }
    let node_ports = front.kind != "ClusterIP";
    let ports = front.ports.iter().filter_map(|port| {
        let protocol = protocol(port.protocol.as_deref())?;
        let node_port = port.node_port.and_then(|port| u16::try_from(port).ok());
        let candidates = candidates(port, protocol, backs, place, draining);
        Some(network::ServicePort {
            protocol,
            port: u16::try_from(port.port).ok()?,
            node_port: node_port.filter(|port| node_ports && *port > 0),
            endpoints: cluster_endpoints(&candidates, place),
            local_endpoints: local_endpoints(&candidates),
        })
    });
    Some(network::Service {
        cluster_ips: front.cluster_ips.clone(),
        external_ips: front.external_ips.clone(),
        affinity: front.affinity,
        internal_local: front.internal_local,
        external_local: front.external_local,
        ports: ports.collect(),
    })
}

/// How many pods of this node are ready for a service: what a balancer outside wants to know.
pub(super) fn local_ready(backs: &[Arc<Back>], place: &Place, draining: &HashSet<IpAddr>) -> usize {
    let here = |endpoint: &&Endpoint| endpoint.ready && endpoint.node.as_deref() == Some(&place.node);
    let addresses: BTreeSet<IpAddr> = backs
        .iter()
        .flat_map(|back| back.endpoints.iter().filter(here))
        .filter_map(|endpoint| endpoint.addresses.first().copied())
        .filter(|address| !draining.contains(address))
        .collect();
    addresses.len()
}

/// An endpoint of one port, and what it is good for.
struct Candidate<'a> {
    entry: network::Endpoint,
    ready: bool,
    /// It still serves while it ends.
    ending: bool,
    of: &'a Endpoint,
}

fn candidates<'a>(
    port: &ServicePort,
    protocol: network::Protocol,
    backs: &'a [Arc<Back>],
    place: &Place,
    draining: &HashSet<IpAddr>,
) -> Vec<Candidate<'a>> {
    let name = port.name.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for back in backs {
        let fits = |(known, p, _): &&(Option<String>, network::Protocol, u16)| {
            known.as_deref().unwrap_or_default() == name && *p == protocol
        };
        let Some((_, _, number)) = back.ports.iter().find(fits) else {
            continue;
        };
        found.extend(back.endpoints.iter().filter_map(|endpoint| {
            let address = *endpoint.addresses.first()?;
            let leaves = draining.contains(&address);
            Some(Candidate {
                entry: network::Endpoint {
                    address,
                    port: *number,
                    local: endpoint.node.as_deref() == Some(&place.node),
                },
                ready: endpoint.ready && !leaves,
                ending: endpoint.serving && endpoint.terminating || endpoint.ready && leaves,
                of: endpoint,
            })
        }));
    }
    found
}

/// For policy Cluster: the ready ones that are meant for this node, or where there is none those that still serve while
/// they end.
fn cluster_endpoints(candidates: &[Candidate<'_>], place: &Place) -> Vec<network::Endpoint> {
    let meant = preference(candidates, place);
    let ready = pick(candidates, |candidate| candidate.ready && meant(candidate.of, place));
    if ready.is_empty() {
        pick(candidates, |candidate| candidate.ending)
    } else {
        ready
    }
}

/// For policy Local, which asks nobody's preference.
fn local_endpoints(candidates: &[Candidate<'_>]) -> Vec<network::Endpoint> {
    let ready = pick(candidates, |candidate| candidate.entry.local && candidate.ready);
    if ready.is_empty() {
        pick(candidates, |candidate| candidate.entry.local && candidate.ending)
    } else {
        ready
    }
}

fn pick(candidates: &[Candidate<'_>], fits: impl Fn(&Candidate<'_>) -> bool) -> Vec<network::Endpoint> {
    let found: BTreeSet<network::Endpoint> = candidates.iter().filter(|c| fits(c)).map(|c| c.entry).collect();
    found.into_iter().collect()
}

type Meant = fn(&Endpoint, &Place) -> bool;

/// Hints count when every ready endpoint has them and one is for here: those for nodes first, then those for zones.
fn preference(candidates: &[Candidate<'_>], place: &Place) -> Meant {
    let for_node: Meant = |endpoint, place| endpoint.for_nodes.contains(&place.node);
    let for_zone: Meant = |endpoint, place| {
        place
            .zone
            .as_ref()
            .is_some_and(|zone| endpoint.for_zones.contains(zone))
    };
    let ready = || {
        candidates
            .iter()
            .filter(|candidate| candidate.ready)
            .map(|candidate| candidate.of)
    };
    if ready().all(|endpoint| !endpoint.for_nodes.is_empty()) && ready().any(|endpoint| for_node(endpoint, place)) {
        return for_node;
    }
    if ready().all(|endpoint| !endpoint.for_zones.is_empty()) && ready().any(|endpoint| for_zone(endpoint, place)) {
        return for_zone;
    }
    |_, _| true
}

#[cfg(test)]
mod tests {
    use super::super::project::{back, front};
    use super::*;
    use serde_json::{Value, json};

    fn place() -> Place {
        Place {
            node: "here".into(),
            zone: Some("z1".into()),
        }
    }

    /// Last digit, node, ready, serving and terminating, hint for a zone, hint for a node.
    type Given<'a> = (u8, &'a str, bool, bool, Option<&'a str>, Option<&'a str>);

    fn slice(endpoints: &[Given<'_>]) -> Vec<Arc<Back>> {
        let of = |(last, node, ready, ending, zone, for_node): &Given<'_>| {
            let mut hints = serde_json::Map::new();
            for (name, hint) in [("forZones", zone), ("forNodes", for_node)] {
                if let Some(hint) = hint {
                    hints.insert(name.into(), json!([{"name": hint}]));
                }
            }
            json!({
                "addresses": [format!("10.42.0.{last}")], "nodeName": node, "hints": hints,
                "conditions": {"ready": ready, "serving": ready | ending, "terminating": ending},
            })
        };
        let slice = json!({
            "metadata": {"namespace": "d", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints.iter().map(of).collect::<Vec<Value>>(),
        });
        vec![Arc::new(back(&serde_json::from_value(slice).unwrap()).unwrap())]
    }

    fn web(backs: &[Arc<Back>], draining: &[&str]) -> (Vec<String>, Vec<String>) {
        let spec = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "nodePort": 30080}]}});
        let draining = draining.iter().map(|address| address.parse().unwrap()).collect();
        let rules = service(
            &front(&serde_json::from_value(spec).unwrap()),
            backs,
            &place(),
            &draining,
        )
        .unwrap();
        let last = |endpoints: &[network::Endpoint]| {
            let text = |endpoint: &network::Endpoint| endpoint.address.to_string();
            endpoints
                .iter()
                .map(text)
                .map(|t| t.rsplit('.').next().unwrap_or_default().to_owned())
                .collect()
        };
        (last(&rules.ports[0].endpoints), last(&rules.ports[0].local_endpoints))
    }

    fn list(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cluster_and_local_fall_back_each_by_itself() {
        let backs = slice(&[
            (1, "there", true, false, None, None),
            (2, "here", false, true, None, None),
            (3, "here", false, false, None, None),
        ]);
        assert_eq!(web(&backs, &[]), (list(&["1"]), list(&["2"])));
        assert_eq!(
            web(&backs, &["10.42.0.1"]),
            (list(&["1", "2"]), list(&["2"])),
            "a last one still serves"
        );
        assert_eq!(local_ready(&backs, &place(), &HashSet::new()), 0);
    }

    #[test]
    fn hints_count_when_all_have_them_and_one_is_for_here() {
        let zones = slice(&[
            (1, "there", true, false, Some("z1"), None),
            (2, "here", true, false, Some("z2"), None),
            (3, "there", false, true, None, None),
        ]);
        assert_eq!(web(&zones, &[]), (list(&["1"]), list(&["2"])), "Local asks no hint");
        let lacking = slice(&[
            (1, "there", true, false, Some("z1"), None),
            (2, "here", true, false, None, None),
        ]);
        assert_eq!(web(&lacking, &[]).0, list(&["1", "2"]));
        let elsewhere = slice(&[(1, "there", true, false, Some("z2"), None)]);
        assert_eq!(web(&elsewhere, &[]).0, list(&["1"]));
        let nodes = slice(&[
            (1, "there", true, false, Some("z1"), Some("there")),
            (2, "here", true, false, Some("z1"), Some("here")),
        ]);
        assert_eq!(web(&nodes, &[]).0, list(&["2"]));
        assert_eq!(
            web(&nodes, &["10.42.0.2"]).0,
            list(&["1"]),
            "none for this node: by zone"
        );
    }
}
