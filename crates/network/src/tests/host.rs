//! The host: what is made there, what is found again, what stands in the way, and that nothing stays.

use std::net::Ipv4Addr;

use super::world::*;
use crate::netlink::Socket;
use crate::nft::{self, Base, Batch};
use crate::{Error, Network, ServiceTable, link, purge};

/// Everything of the host that the network could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    links: Vec<String>,
    routes: Vec<String>,
    addresses: Vec<String>,
    chains: Vec<String>,
    rules: usize,
    forwarding: String,
    liberal: String,
}

fn traces() -> Traces {
    let mut route = Socket::open(libc::NETLINK_ROUTE).unwrap();
    let mut netfilter = Socket::open(libc::NETLINK_NETFILTER).unwrap();
    let chains = nft::chains(&mut netfilter).unwrap();
    let rules = chains
        .iter()
        .map(|c| {
            nft::rules(&mut netfilter, c.family, &c.table, &c.name)
                .unwrap_or_default()
                .len()
        })
        .sum();
    Traces {
        links: link::links(&mut route)
            .unwrap()
            .into_iter()
            .map(|link| link.name)
            .collect(),
        routes: link::routes(&mut route)
            .unwrap()
            .iter()
            .map(|route| route.destination.to_string())
            .collect(),
        addresses: link::addresses(&mut route)
            .unwrap()
            .iter()
            .map(|address| address.network.to_string())
            .collect(),
        chains: chains
            .into_iter()
            .map(|chain| format!("{}/{}", chain.table, chain.name))
            .collect(),
        rules,
        forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
            .unwrap()
            .trim()
            .to_owned(),
        // It is there with the first rule about connections.
        liberal: std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
            .map_or("0".into(), |text| text.trim().to_owned()),
    }
}

#[test]
fn two_instances_live_side_by_side_and_each_removes_its_own() {
    on_host(|| {
        let (dirs, outside) = ([(); 2].map(|()| tempfile::tempdir().unwrap()), outside());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let empty = traces();
        let one = open(&dirs[0]);
        let only_one = traces();
        let two = Network::open(config("d4e5f6", "10.43.0.0/24", "10.97.0.0/16", &dirs[1])).unwrap();
        let pods = (Pod::new(&one, 1), Pod::new(&two, 1));
        let _servers = (pods.0.serve(8080), pods.1.serve(8080));
        one.apply(&table(service(&[&pods.0]))).unwrap();
        let mut other = service(&[&pods.1]);
        other.cluster_ips = vec![Ipv4Addr::new(10, 97, 0, 10).into()];
        other.ports[0].node_port = Some(30081);
        two.apply(&table(other)).unwrap();
        assert_eq!(ask((VIP, 80)).unwrap().0, pods.0.ip().to_string());
        assert_eq!(outside.run(|| ask((HOST, 30081))).unwrap().0, pods.1.ip().to_string());
        assert_eq!(two.dump().services, 1);

        drop(two);
        purge(
            &config("d4e5f6", "10.43.0.0/24", "10.97.0.0/16", &dirs[1]).instance,
            &dirs[1].path().join("network"),
        )
        .unwrap();
        one.detach(pods.0.attachment.slot).unwrap();
        one.apply(&ServiceTable::default()).unwrap();
        one.settle();
        // The picking chains of the service stay for the next one.
        let left = Traces {
            chains: only_one.chains.clone(),
            rules: only_one.rules,
            ..traces()
        };
        assert_eq!(left, only_one, "and the first one's forwarding with it");
        one.teardown().unwrap();
        assert_eq!(traces(), empty);
        assert!(!dirs[0].path().join("network").exists());
        let instance = config("a1b2c3", "10.42.0.0/24", "10.96.0.0/16", &dirs[0]).instance;
        purge(&instance, &dirs[0].path().join("network")).unwrap();
    });
}

#[test]
fn a_restart_disturbs_no_service_and_the_next_apply_is_exact() {
    on_host(|| {
        let (dir, _outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let (one, two) = (Pod::new(&network, 1), Pod::new(&network, 2));
        let _servers = (one.serve(8080), two.serve(8080));
        network.apply(&table(service(&[&one]))).unwrap();
        drop(network);
        assert!(ask((VIP, 80)).is_ok(), "while no process runs");
        let network = open(&dir);
        assert!(ask((VIP, 80)).is_ok(), "before the first apply");
        network.apply(&table(service(&[&two]))).unwrap();
        for _ in 0..10 {
            assert_eq!(ask((VIP, 80)).unwrap().0, two.ip().to_string());
        }
        drop(network);
        // Another range: everything is made anew.
        let network = Network::open(config("a1b2c3", "10.52.0.0/24", "10.98.0.0/16", &dir)).unwrap();
        assert!(network.attachments().is_empty());
        let pod = Pod::new(&network, 1);
        assert_eq!(pod.ip(), Ipv4Addr::new(10, 52, 0, 2));
        network.teardown().unwrap();
    });
}

#[test]
fn ranges_in_use_are_named() {
    on_host(|| {
        let (dirs, _outside) = ([(); 2].map(|()| tempfile::tempdir().unwrap()), outside());
        let open = |id, pods, services, dir| {
            Network::open(config(id, pods, services, dir))
                .err()
                .map(|e| e.to_string())
        };
        let error = open("a1b2c3", "192.0.2.0/28", "10.96.0.0/16", &dirs[0]).unwrap();
        assert_eq!(
            error,
            "192.0.2.0/28 overlaps the route 192.0.2.0/24 (wire0) of this host: choose another --pod-cidr"
        );
        let error = open("a1b2c3", "10.42.0.0/24", "10.42.0.0/28", &dirs[0]).unwrap();
        assert!(error.contains("overlap: choose another"), "{error}");
        assert_eq!(open("a1b2c3", "10.42.0.0/24", "10.96.0.0/16", &dirs[0]), None);
        let error = open("d4e5f6", "10.43.0.0/24", "10.96.128.0/24", &dirs[1]).unwrap();
        let other = dirs[0].path().join("network");
        let expected = format!(
            "10.96.128.0/24 overlaps 10.96.0.0/16 of the Gantry instance a1b2c3 ({}): choose another --service-cidr",
            other.display()
        );
        assert_eq!(error, expected);
    });
}

#[test]
fn a_host_that_drops_forwarded_packets_lets_pods_through() {
    on_host(|| {
        let (dir, outside) = (tempfile::tempdir().unwrap(), outside());
        let mut netfilter = Socket::open(libc::NETLINK_NETFILTER).unwrap();
        // As Docker does it through iptables, and another program for both families at once.
        for (family, table) in [(nft::FAMILY, "filter"), (1, "firewall")] {
            let mut batch = Batch::of_family(family, table);
            batch.table(&[]);
            batch.base_chain_dropping(
                "FORWARD",
                Base {
                    kind: "filter",
                    hook: 2,
                    priority: 0,
                },
            );
            batch.commit(&mut netfilter).unwrap();
        }
        let before = traces();

        let network = open(&dir);
        let pod = Pod::new(&network, 1);
        let _server = outside.run(|| Server::start((OUTSIDE, 9001).into(), "outside"));
        assert!(pod.place.run(|| ask((OUTSIDE, 9001))).is_ok());
        drop(network);
        let network = open(&dir);
        assert_eq!(
            nft::rules(&mut netfilter, nft::FAMILY, "filter", "FORWARD")
                .unwrap()
                .len(),
            4,
            "not once more"
        );
        network.detach(pod.attachment.slot).unwrap();
        network.teardown().unwrap();
        assert_eq!(traces(), before);
    });
}

#[test]
fn a_pod_cannot_reach_loopback_of_the_host_or_use_another_address() {
    on_host(|| {
        let (dir, _outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let (pod, other) = (Pod::new(&network, 1), Pod::new(&network, 2));
        let _server = Server::start((Ipv4Addr::LOCALHOST, 7000).into(), "private");
        let _victim = other.serve(8080);
        pod.place.run(|| {
            let mut socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
            let index = link::find(&mut socket, crate::POD_LINK).unwrap().unwrap().index;
            let mut messages = crate::netlink::Messages::default();
            link::set_up(&mut messages, index, &[(link::setting::ROUTE_LOCALNET, 1)]);
            let loopback = "127.0.0.0/8".parse().unwrap();
            link::delete_address(&mut messages, 1, "127.0.0.1/8".parse().unwrap());
            let route = link::NewRoute {
                gateway: Some(crate::GATEWAY),
                source: Some(pod.ip()),
                ..link::NewRoute::to(loopback, index)
            };
            link::add_route(&mut messages, route);
            link::add_address(&mut messages, index, "10.42.0.77/32".parse().unwrap());
            socket.transact(&messages).unwrap();
            assert!(ask((Ipv4Addr::LOCALHOST, 7000)).is_err(), "loopback of the host");
            let forged = std::net::UdpSocket::bind("10.42.0.77:0").unwrap();
            assert!(
                ask_datagram(&forged, (other.ip(), 8080)).is_err(),
                "an address that is not its own"
            );
        });
        network.teardown().unwrap();
    });
}

#[test]
fn without_privilege_it_says_so() {
    let error = Error::kernel("anything", std::io::Error::from_raw_os_error(libc::EPERM));
    assert!(error.to_string().contains("run as root"), "{error}");
}
