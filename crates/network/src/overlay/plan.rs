//! Which way leads to which node. Pure: what the kernel says about ways and links is given.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::config::{Config, node_address};
use crate::link::{Mac, Way};

/// What VXLAN puts around a packet: IPv4, UDP, its own header, and the Ethernet header of the packet inside.
const TUNNEL_OVERHEAD: u32 = 50;
/// IPv4 wants no link to carry less.
const SMALLEST_MTU: u32 = 576;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, for logs.
    pub name: String,
    /// The address by which it is reached.
    pub address: IpAddr,
    /// Its pods.
    pub pods: Vec<Ipv4Net>,
}

/// A node whose pods are not reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub why: Trouble,
}

/// What is wrong with a node, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// This host has no route to the address.
    NoRoute(Ipv4Addr),
    /// The address is one of this host.
    OwnAddress(Ipv4Addr),
    /// IPv6 only.
    NotIpv4(IpAddr),
    /// Its range is outside of the cluster's.
    Foreign(Ipv4Net),
    /// Its range overlaps this node's or another one's.
    Taken(Ipv4Net),
}

/// What the kernel says.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Ways to nodes, with the largest packet where the route says one. None for those without a way.
    pub(super) ways: HashMap<Ipv4Addr, (Way, Option<u32>)>,
    /// The largest packet of each link.
    pub(super) mtus: HashMap<u32, u32>,
}

/// By what a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Link(u32),
    Tunnel,
}

/// A route to a node's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) destination: Ipv4Net,
    pub(super) via: Via,
    pub(super) gateway: Ipv4Addr,
    pub(super) mtu: u32,
}

/// What shall be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) routes: Vec<Wanted>,
    /// The far ends of the tunnel: a node's address among its pods, and where its packets go.
    pub(super) remotes: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Nodes that may send through the tunnel. All that are known: one that sees a router where this one sees none
    /// would use it.
    pub(super) senders: BTreeSet<Ipv4Addr>,
    /// The largest packet of the tunnel; `None` when none is needed.
    pub(super) tunnel_mtu: Option<u32>,
    /// The largest packet that all ways take.
    pub(super) mtu: Option<u32>,
    pub(super) unreached: Vec<Unreached>,
}

pub(super) fn plan(config: &Config, known: &Known, peers: &[Peer]) -> Plan {
    let mut plan = Plan::default();
    let mut taken = vec![config.pod_cidr];
    let mut peers: Vec<&Peer> = peers.iter().collect();
    peers.sort_by(|one, other| one.name.cmp(&other.name));
    for peer in peers {
        if let Err(why) = plan.add(config, known, peer, &mut taken) {
            plan.unreached.push(Unreached {
                name: peer.name.clone(),
                why,
            });
        }
    }
    plan.mtu = plan.routes.iter().map(|route| route.mtu).min();
    let tunnelled = plan.routes.iter().filter(|route| route.via == Via::Tunnel);
    plan.tunnel_mtu = tunnelled.map(|route| route.mtu).max();
    plan
}

impl Plan {
    fn add(&mut self, config: &Config, known: &Known, peer: &Peer, taken: &mut Vec<Ipv4Net>) -> Result<(), Trouble> {
        let IpAddr::V4(address) = peer.address else {
            return Err(Trouble::NotIpv4(peer.address));
        };
        for range in &peer.pods {
            if !config.cluster_cidr.contains(range) {
                return Err(Trouble::Foreign(*range));
            }
            if taken.iter().any(|other| other.contains(range) || range.contains(other)) {
                return Err(Trouble::Taken(*range));
            }
        }
        let Some(first) = peer.pods.first() else { return Ok(()) };
        let (way, route_mtu) = known.ways.get(&address).ok_or(Trouble::NoRoute(address))?;
        let of_link = |link| {
            let link_mtu = known.mtus.get(&link).copied();
            route_mtu.or(link_mtu).unwrap_or(1500)
        };
        let (via, gateway, mtu) = match *way {
            Way::Own => return Err(Trouble::OwnAddress(address)),
            Way::Link(link) => (Via::Link(link), address, of_link(link)),
            Way::Router(link) => {
                let far = node_address(*first);
                self.remotes.insert(far, address);
                let mtu = of_link(link).saturating_sub(TUNNEL_OVERHEAD).max(SMALLEST_MTU);
                (Via::Tunnel, far, mtu)
            }
        };
        self.senders.insert(address);
        taken.extend(&peer.pods);
        self.routes.extend(peer.pods.iter().map(|range| Wanted {
            destination: *range,
            via,
            gateway,
            mtu,
        }));
        Ok(())
    }
}

/// The hardware address of a node's end of the tunnel follows from its address among its pods, so that nobody has to
/// tell it.
pub(super) fn mac(node_address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = node_address.octets();
    [0x0a, 0x67, a, b, c, d]
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoRoute(address) => write!(f, "this host has no route to {address}"),
            Trouble::OwnAddress(address) => write!(
                f,
                "its address {address} is one of this host: give each node an address of its own by --node-ip"
            ),
            Trouble::NotIpv4(address) => write!(f, "its address {address} is not of IPv4"),
            Trouble::Foreign(range) => write!(f, "its pod range {range} is not part of the cluster's"),
            Trouble::Taken(range) => write!(f, "its pod range {range} overlaps another node's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstanceId;

    fn config() -> Config {
        Config {
            instance: InstanceId::new("a1b2c3").unwrap(),
            state_dir: "/nowhere".into(),
            pod_cidr: "10.42.0.0/24".parse().unwrap(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            mtu: None,
        }
    }

    fn peer(name: &str, address: [u8; 4], pods: &str) -> Peer {
        Peer {
            name: name.into(),
            address: IpAddr::from(address),
            pods: vec![pods.parse().unwrap()],
        }
    }

    fn known(ways: &[([u8; 4], Way, Option<u32>)]) -> Known {
        Known {
            ways: ways
                .iter()
                .map(|(address, way, mtu)| (Ipv4Addr::from(*address), (*way, *mtu)))
                .collect(),
            mtus: HashMap::from([(2, 1500), (3, 9000)]),
        }
    }

    #[test]
    fn a_link_is_taken_directly_and_a_router_by_the_tunnel() {
        let peers = [
            peer("b", [192, 0, 2, 2], "10.42.1.0/24"),
            peer("c", [198, 51, 100, 3], "10.42.2.0/24"),
            peer("d", [198, 51, 100, 4], "10.42.3.0/24"),
        ];
        let known = known(&[
            ([192, 0, 2, 2], Way::Link(3), None),
            ([198, 51, 100, 3], Way::Router(2), None),
            ([198, 51, 100, 4], Way::Router(2), Some(1400)),
        ]);
        let plan = plan(&config(), &known, &peers);
        let routes: Vec<_> = plan.routes.iter().map(|r| (r.via, r.gateway, r.mtu)).collect();
        let tunnel = |last: u8, mtu| (Via::Tunnel, Ipv4Addr::new(10, 42, last, 1), mtu);
        assert_eq!(
            routes,
            [
                (Via::Link(3), Ipv4Addr::new(192, 0, 2, 2), 9000),
                tunnel(2, 1450),
                tunnel(3, 1350)
            ]
        );
        assert_eq!((plan.tunnel_mtu, plan.mtu), (Some(1450), Some(1350)));
        assert_eq!(plan.remotes.len(), 2);
        assert_eq!(plan.unreached, []);
    }

    #[test]
    fn nodes_that_cannot_be_are_left_out_and_named() {
        let peers = [
            peer("b", [192, 0, 2, 2], "10.42.0.0/25"),
            peer("c", [192, 0, 2, 3], "10.43.0.0/24"),
            peer("d", [192, 0, 2, 1], "10.42.1.0/24"),
            peer("e", [203, 0, 113, 1], "10.42.1.0/24"),
            peer("f", [192, 0, 2, 6], "10.42.1.0/24"),
            peer("g", [192, 0, 2, 7], "10.42.1.0/24"),
        ];
        let known = known(&[
            ([192, 0, 2, 1], Way::Own, None),
            ([192, 0, 2, 6], Way::Link(2), None),
            ([192, 0, 2, 7], Way::Link(2), None),
        ]);
        let plan = plan(&config(), &known, &peers);
        let why: Vec<_> = plan.unreached.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(why, ["b", "c", "d", "e", "g"]);
        assert_eq!(plan.routes.len(), 1);
        assert_eq!(plan.tunnel_mtu, None);
    }
}
