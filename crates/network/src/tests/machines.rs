//! Several machines: each a namespace with a network of its own, on one wire or with a router between them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use ipnet::Ipv4Net;
use tempfile::TempDir;

use super::world::*;
use crate::link::{self, NewRoute, Pair};
use crate::netlink::{Messages, Socket};
use crate::{Config, InstanceId, Network, Peer};

/// A machine with a node.
pub(super) struct Machine {
    pub(super) place: Place,
    pub(super) network: Network,
    pub(super) address: Ipv4Addr,
    pub(super) dir: TempDir,
}

impl Machine {
    /// The `number`-th machine of a cluster, in a place that has its links already.
    pub(super) fn start(place: Place, number: u8, address: Ipv4Addr) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            instance: InstanceId::new(&format!("node{number}")).unwrap(),
            state_dir: dir.path().join("network"),
            pod_cidr: pods(number),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            mtu: None,
        };
        let network = place.run(|| {
            // As on a machine that nobody has touched; a new namespace has what the host has.
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "0").unwrap();
            Network::open(config).unwrap()
        });
        Machine {
            place,
            network,
            address,
            dir,
        }
    }

    pub(super) fn pod(&self, slot: u32) -> Pod {
        Pod::new(&self.network, slot)
    }

    /// As other machines know it.
    pub(super) fn as_peer(&self) -> Peer {
        Peer {
            name: self.address.to_string(),
            address: IpAddr::V4(self.address),
            pods: vec![self.network.config().pod_cidr],
        }
    }

    pub(super) fn know(&self, others: &[&Machine]) -> crate::Reached {
        let peers: Vec<Peer> = others.iter().map(|other| other.as_peer()).collect();
        self.place
            .run(|| self.network.set_peers(IpAddr::V4(self.address), &peers).unwrap())
    }

    pub(super) fn links(&self) -> Vec<String> {
        let listed = self.place.run(|| link::links(&mut socket()).unwrap());
        listed.into_iter().map(|link| link.name).collect()
    }

    pub(super) fn routes(&self) -> Vec<link::Route> {
        self.place.run(|| link::routes(&mut socket()).unwrap())
    }
}

pub(super) fn pods(number: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 42, number, 0), 24)
}

pub(super) fn socket() -> Socket {
    Socket::open(libc::NETLINK_ROUTE).unwrap()
}

/// One end of a wire.
pub(super) struct End<'a> {
    pub(super) place: &'a Place,
    pub(super) link: &'a str,
    pub(super) address: Ipv4Addr,
}

/// Lays a wire between two places; both ends are of one /24.
pub(super) fn wire(one: &End<'_>, other: &End<'_>, mtu: u32) {
    let mac = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        [2, 0, a, b, c, d]
    };
    one.place.run(|| {
        let mut messages = Messages::default();
        link::add_pair(
            &mut messages,
            &Pair {
                name: one.link,
                mac: mac(one.address),
                peer_name: other.link,
                peer_mac: mac(other.address),
                peer_namespace: other.place.namespace.as_fd(),
                mtu,
            },
        );
        socket().transact(&messages).unwrap();
    });
    for end in [one, other] {
        end.place.run(|| {
            let mut socket = socket();
            let index = link::find(&mut socket, end.link).unwrap().unwrap().index;
            let mut messages = Messages::default();
            link::set_up(&mut messages, 1, &[]);
            link::set_up(&mut messages, index, &[]);
            link::add_address(&mut messages, index, Ipv4Net::new(end.address, 24).unwrap());
            socket.transact(&messages).unwrap();
            socket.sync_link(end.link).unwrap();
        });
    }
}

/// Gives a place a default route.
pub(super) fn by_router(place: &Place, link: &str, router: Ipv4Addr) {
    place.run(|| {
        let mut socket = socket();
        let index = link::find(&mut socket, link).unwrap().unwrap().index;
        let mut messages = Messages::default();
        link::add_route(
            &mut messages,
            NewRoute {
                gateway: Some(router),
                ..NewRoute::to(Ipv4Net::default(), index)
            },
        );
        socket.transact(&messages).unwrap();
    });
}

pub(super) const ONE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(super) const TWO: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub(super) const TWO_NEAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(super) const ROUTER_TO_ONE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);
pub(super) const ROUTER_TO_TWO: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

/// Two machines on one wire.
pub(super) fn near() -> (Machine, Machine) {
    let (one, two) = (Place::new(), Place::new());
    wire(
        &End {
            place: &one,
            link: "eth9",
            address: ONE,
        },
        &End {
            place: &two,
            link: "eth9",
            address: TWO_NEAR,
        },
        1500,
    );
    (Machine::start(one, 1, ONE), Machine::start(two, 2, TWO_NEAR))
}

/// Two machines with a router between them, which knows nothing of pods.
pub(super) fn far(mtu: u32) -> (Machine, Machine, Place) {
    let (one, two, router) = (Place::new(), Place::new(), Place::new());
    let ends = [(&one, ONE, "to1", ROUTER_TO_ONE), (&two, TWO, "to2", ROUTER_TO_TWO)];
    for (place, address, link, router_address) in ends {
        let own = End {
            place,
            link: "eth9",
            address,
        };
        let far = End {
            place: &router,
            link,
            address: router_address,
        };
        wire(&own, &far, mtu);
        by_router(place, "eth9", router_address);
    }
    router.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    (Machine::start(one, 1, ONE), Machine::start(two, 2, TWO), router)
}
