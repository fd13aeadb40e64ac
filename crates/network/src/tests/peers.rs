//! Pods of several machines: on one link, beyond a router, with large packets, and as nodes come, move and go.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use super::machines::*;
use super::world::*;
use crate::link::{self, NewRoute};
use crate::netlink::Messages;
use crate::{Endpoint, HostChanges, InstanceId, Peer, Protocol, Trouble, purge};

const BIG: usize = 3_000_000;

#[test]
fn pods_on_one_link_are_routed_directly() {
    let (one, two) = near();
    let reached = (one.know(&[&two]), two.know(&[&one]));
    assert_eq!(
        (reached.0.direct, reached.0.tunnelled, reached.0.mtu),
        (1, 0, Some(1500))
    );
    assert_eq!(reached.1.unreached, []);
    assert!(!one.links().contains(&"gnode1x".to_owned()));
    they_reach_each_other(&one, &two);
    assert_eq!(one.know(&[&two]).changes, 0, "nothing is done twice");
    leave_no_trace(one);
    leave_no_trace(two);
}

#[test]
fn pods_beyond_a_router_are_reached_by_the_tunnel() {
    let (one, two, _router) = far(1500);
    let early = (one.pod(10), two.pod(10));
    let reached = (one.know(&[&two]), two.know(&[&one]));
    assert_eq!(
        (reached.0.direct, reached.0.tunnelled, reached.0.mtu),
        (0, 1, Some(1450))
    );
    assert_eq!(one.know(&[&two]).changes, 0, "nothing is done twice");
    they_reach_each_other(&one, &two);

    // Pods from now on have what fits; those from before are told by the host.
    let late = (one.pod(11), two.pod(11));
    assert_eq!((early.0.attachment.mtu, late.0.attachment.mtu), (1500, 1450));
    assert_eq!(late.0.place.run(|| mtu_of(crate::POD_LINK)), 1450);
    for (from, to) in [
        (&early.0, &early.1),
        (&late.0, &late.1),
        (&early.0, &late.1),
        (&late.0, &early.1),
    ] {
        bulk(from, to);
        datagram(from, to, 1422);
        datagram(from, to, 8000);
    }
    let told = early.0.place.run(|| largest_unfragmented((early.1.ip(), 9).into()));
    assert_eq!(told, 1450, "a pod from before learns the way's size");
    leave_no_trace(one);
    leave_no_trace(two);
}

#[test]
fn a_small_underlay_makes_pods_small_too() {
    let (one, two, _router) = far(1280);
    let reached = (one.know(&[&two]), two.know(&[&one]));
    assert_eq!(reached.0.mtu, Some(1230));
    let (from, to) = (one.pod(1), two.pod(1));
    assert_eq!(from.attachment.mtu, 1230);
    bulk(&from, &to);
    datagram(&from, &to, 1202);
    leave_no_trace(one);
    leave_no_trace(two);
}

#[test]
fn services_lead_to_pods_of_other_nodes() {
    let (near_one, near_two) = near();
    let (far_one, far_two, router) = far(1500);
    for (one, two) in [(&near_one, &near_two), (&far_one, &far_two)] {
        one.know(&[two]);
        two.know(&[one]);
        let (client, pod) = (one.pod(1), two.pod(1));
        let _server = pod.serve(8080);
        let mut wanted = service(&[]);
        let endpoint = Endpoint {
            local: false,
            ..pod.endpoint(8080)
        };
        wanted.ports[0].endpoints = vec![endpoint];
        one.network.apply(&table(wanted)).unwrap();
        let seen = client.place.run(|| ask((VIP, 80))).unwrap();
        assert_eq!(
            seen,
            (pod.ip().to_string(), client.ip().to_string()),
            "the pod's own address"
        );
        let node = one.network.node_address().to_string();
        assert_eq!(one.place.run(|| ask((VIP, 80))).unwrap().1, node, "from the host");
        assert_eq!(
            two.place.run(|| ask((one.address, 30080))).unwrap().1,
            node,
            "by a node port"
        );
        assert!(client.place.run(|| ask((one.address, 30080))).is_ok());
        let own = one.place.run(|| ask((Ipv4Addr::LOCALHOST, 30080)));
        assert_eq!(own.unwrap(), (pod.ip().to_string(), node), "by a node port of its own");
        // A machine that knows nothing of pods, by a node port of the node that has no endpoint.
        if std::ptr::eq(one, &far_one) {
            assert_eq!(
                router.run(|| ask((one.address, 30080))).unwrap().0,
                pod.ip().to_string()
            );
        }
    }
    for machine in [near_one, near_two, far_one, far_two] {
        leave_no_trace(machine);
    }
}

#[test]
fn nodes_move_go_and_come_back() {
    let (one, two, _router) = far(1500);
    one.know(&[&two]);
    two.know(&[&one]);
    let (client, pod) = (one.pod(1), two.pod(1));
    let _server = pod.serve(8080);
    assert!(client.place.run(|| ask((pod.ip(), 8080))).is_ok());

    // It moves to another address, behind the same router.
    let moved = Ipv4Addr::new(203, 0, 113, 77);
    two.place.run(|| {
        let mut socket = socket();
        let index = link::find(&mut socket, "eth9").unwrap().unwrap().index;
        let mut messages = Messages::default();
        link::delete_address(&mut messages, index, "203.0.113.2/24".parse().unwrap());
        link::add_address(&mut messages, index, "203.0.113.77/24".parse().unwrap());
        socket.transact(&messages).unwrap();
    });
    by_router(&two.place, "eth9", ROUTER_TO_TWO);
    assert!(client.place.run(|| ask((pod.ip(), 8080))).is_err());
    let there = Peer {
        address: IpAddr::V4(moved),
        ..two.as_peer()
    };
    two.network.set_peers(IpAddr::V4(moved), &[one.as_peer()]).unwrap();
    let reached = one.network.set_peers(IpAddr::V4(ONE), &[there]).unwrap();
    assert_eq!(reached.tunnelled, 1);
    assert!(client.place.run(|| ask((pod.ip(), 8080))).is_ok(), "at its new address");

    // It is gone: packets to its pods are refused at once, and nothing of it stays.
    assert!(one.links().contains(&"gnode1x".to_owned()));
    one.know(&[]);
    let start = Instant::now();
    assert!(client.place.run(|| ask((pod.ip(), 8080))).is_err());
    assert!(start.elapsed() < Duration::from_secs(1), "who asks is told at once");
    assert!(
        !one.links().contains(&"gnode1x".to_owned()),
        "without a node there is no tunnel"
    );
    assert!(!one.routes().iter().any(|route| route.destination == pods(2)));

    // No way to it at all, and one that cannot be.
    let lost = Peer {
        address: Ipv4Addr::new(192, 0, 2, 99).into(),
        ..two.as_peer()
    };
    one.place.run(|| {
        let mut messages = Messages::default();
        let mut socket = socket();
        let index = link::find(&mut socket, "eth9").unwrap().unwrap().index;
        let default = NewRoute {
            gateway: Some(ROUTER_TO_ONE),
            ..NewRoute::to(ipnet::Ipv4Net::default(), index)
        };
        link::delete_route(&mut messages, default);
        socket.transact(&messages).unwrap();
    });
    let reached = one.network.set_peers(IpAddr::V4(ONE), &[lost]).unwrap();
    assert_eq!(reached.unreached[0].why, Trouble::NoRoute(Ipv4Addr::new(192, 0, 2, 99)));
    let same = Peer {
        address: ONE.into(),
        ..two.as_peer()
    };
    let reached = one.network.set_peers(IpAddr::V4(ONE), &[same]).unwrap();
    assert_eq!(reached.unreached[0].why, Trouble::OwnAddress(ONE));
    leave_no_trace(one);
    leave_no_trace(two);
}

#[test]
fn a_change_of_the_hosts_routes_is_noticed_and_followed() {
    let (one, two, _router) = far(1500);
    let mut changes = one
        .place
        .run(|| HostChanges::open(&InstanceId::new("node1").unwrap()).unwrap());
    one.know(&[&two]);
    two.know(&[&one]);
    let _pod = one.pod(1);
    assert!(
        !changes.take().unwrap(),
        "what the network itself does is no change of the host's"
    );
    // From now on there is a wire between the two.
    let near = |place, link, last| End {
        place,
        link,
        address: Ipv4Addr::new(192, 0, 2, last),
    };
    wire(&near(&one.place, "eth8", 1), &near(&two.place, "eth8", 2), 1400);
    for (place, other, last) in [(&one.place, TWO, 2), (&two.place, ONE, 1)] {
        place.run(|| {
            let mut socket = socket();
            let index = link::find(&mut socket, "eth8").unwrap().unwrap().index;
            let mut messages = Messages::default();
            link::add_route(
                &mut messages,
                NewRoute {
                    gateway: Some(Ipv4Addr::new(192, 0, 2, last)),
                    ..NewRoute::to(ipnet::Ipv4Net::from(other), index)
                },
            );
            socket.transact(&messages).unwrap();
        });
    }
    assert!(changes.take().unwrap());
    let reached = one.know(&[&two]);
    assert_eq!((reached.tunnelled, reached.mtu), (1, Some(1350)), "by the new link");
    leave_no_trace(one);
    leave_no_trace(two);
}

#[test]
fn a_stranger_cannot_speak_through_the_tunnel() {
    let (one, two, router) = far(1500);
    one.know(&[&two]);
    two.know(&[&one]);
    let pod = one.pod(1);
    let victim = pod.place.run(|| UdpSocket::bind("0.0.0.0:9999").unwrap());
    victim.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let packet = tunnelled_packet(two.pod(1).ip(), pod.ip());
    let send = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(&packet, (ONE, 8473)).unwrap();
    };
    two.place.run(send);
    let mut buffer = [0; 16];
    assert_eq!(victim.recv(&mut buffer).unwrap(), 4, "from a node it comes through");
    router.run(send);
    assert!(victim.recv(&mut buffer).is_err(), "from elsewhere it does not");
    leave_no_trace(one);
    leave_no_trace(two);
}

#[test]
fn a_neighbour_cannot_reach_loopback_or_speak_as_it() {
    let (one, two) = near();
    one.know(&[&two]);
    let opened = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap();
    assert_eq!(one.place.run(opened).trim(), "1", "else there is nothing to keep shut");
    // A raw socket takes the header as it is, and finds its way by another address.
    let send = |from: Ipv4Addr, to: Ipv4Addr| {
        two.place.run(|| {
            let kind = rustix::net::SocketType::RAW;
            let protocol = rustix::net::ipproto::RAW;
            let socket = rustix::net::socket(rustix::net::AddressFamily::INET, kind, Some(protocol)).unwrap();
            let by = SocketAddr::from((ONE, 0));
            rustix::net::sendto(&socket, &evil_packet(from, to), rustix::net::SendFlags::empty(), &by).unwrap();
        });
    };
    let mut buffer = [0; 16];
    for (address, packets) in [
        (Ipv4Addr::LOCALHOST, [(TWO_NEAR, Ipv4Addr::LOCALHOST)]),
        (ONE, [(Ipv4Addr::LOCALHOST, ONE)]),
    ] {
        let victim = one.place.run(|| UdpSocket::bind((address, 9999)).unwrap());
        victim.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        for (from, to) in packets {
            send(from, to);
            assert!(victim.recv(&mut buffer).is_err(), "from {from} to {to}");
        }
        if address == ONE {
            send(TWO_NEAR, ONE);
            assert_eq!(victim.recv(&mut buffer).unwrap(), 4, "what is in order comes through");
        }
    }
    leave_no_trace(one);
    leave_no_trace(two);
}

/// A UDP packet with four bytes for port 9999 inside of VXLAN, as anyone could make it.
fn tunnelled_packet(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0, 0x0a, 0x2a, 0, 0];
    packet.extend([0x0a, 0x67, 10, 42, 1, 1]);
    packet.extend([0x0a, 0x67, 10, 42, 2, 1]);
    packet.extend([8, 0]);
    packet.extend(evil_packet(from, to));
    packet
}

/// The packet itself, with its IPv4 header.
fn evil_packet(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    let mut packet = header;
    packet.extend([0x30, 0x39, 0x27, 0x0f, 0, 12, 0, 0]);
    packet.extend(b"evil");
    packet
}

fn they_reach_each_other(one: &Machine, two: &Machine) {
    let (first, second) = (one.pod(1), two.pod(1));
    let _servers = (first.serve(8080), second.serve(8080));
    for (from, to) in [(&first, &second), (&second, &first)] {
        let answer = from.place.run(|| ask((to.ip(), 8080))).unwrap();
        assert_eq!(
            answer,
            (to.ip().to_string(), from.ip().to_string()),
            "with their own addresses"
        );
        let answer = from.place.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            ask_datagram(&socket, (to.ip(), 8080))
        });
        assert_eq!(answer.unwrap().1, from.ip().to_string());
    }
    let seen = one.place.run(|| ask((second.ip(), 8080))).unwrap();
    assert_eq!(seen.1, one.network.node_address().to_string(), "from the host itself");
    bulk(&first, &second);
    one.network.detach(first.attachment.slot).unwrap();
    two.network.detach(second.attachment.slot).unwrap();
}

/// Sends a few megabytes from one pod to the other.
fn bulk(from: &Pod, to: &Pod) {
    let listener = to.place.run(|| TcpListener::bind("0.0.0.0:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(WAIT)).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all.len()
        });
        from.place.run(|| {
            let address = SocketAddr::from((to.ip(), port));
            let mut stream = TcpStream::connect_timeout(&address, WAIT).unwrap();
            stream.set_write_timeout(Some(WAIT)).unwrap();
            stream.write_all(&vec![7; BIG]).unwrap();
        });
        assert_eq!(reader.join().unwrap(), BIG);
    });
}

/// Sends one datagram of a size, which may go in pieces.
fn datagram(from: &Pod, to: &Pod, size: usize) {
    let receiver = to.place.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    receiver.set_read_timeout(Some(WAIT)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let sender = from.place.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    // The first one may be lost while the pod learns what fits.
    let mut buffer = vec![0; size];
    for _ in 0..3 {
        let sent = sender.send_to(&vec![1; size], (to.ip(), port));
        if sent.is_ok() && receiver.recv(&mut buffer).is_ok_and(|read| read == size) {
            return;
        }
    }
    panic!("no datagram of {size} bytes from {} to {}", from.ip(), to.ip());
}

/// What the kernel believes to be the largest packet to an address, after a try with one that is too large.
fn largest_unfragmented(address: SocketAddr) -> u32 {
    const IP_MTU: libc::c_int = 14;
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(address).unwrap();
    let option = |name, value: &mut libc::c_int, set: bool| {
        let mut size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `value` is a plain C number that outlives the call, and `size` is its size.
        let result = unsafe {
            if set {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::IPPROTO_IP,
                    name,
                    (&raw const *value).cast(),
                    size,
                )
            } else {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::IPPROTO_IP,
                    name,
                    (&raw mut *value).cast(),
                    &raw mut size,
                )
            }
        };
        assert_eq!(result, 0);
    };
    option(libc::IP_MTU_DISCOVER, &mut { libc::IP_PMTUDISC_DO }, true);
    let _ = socket.send(&[0; 1472]);
    std::thread::sleep(Duration::from_millis(50));
    let mut mtu = 0;
    option(IP_MTU, &mut mtu, false);
    mtu as u32
}

fn mtu_of(name: &str) -> u32 {
    link::find(&mut socket(), name).unwrap().unwrap().mtu
}

/// Takes a machine's network down and sees that only the machine's own things are left.
fn leave_no_trace(machine: Machine) {
    let Machine {
        place, network, dir, ..
    } = machine;
    network.settle();
    drop(network);
    let instance = place.run(|| {
        let tables = crate::nft::tables(&mut crate::netlink::Socket::open(libc::NETLINK_NETFILTER).unwrap()).unwrap();
        tables[0].name.trim_start_matches("gantry-").to_owned()
    });
    place.run(|| {
        purge(&InstanceId::new(&instance).unwrap(), &dir.path().join("network")).unwrap();
        let ranges: [ipnet::Ipv4Net; 2] = ["10.42.0.0/16", "10.96.0.0/16"].map(|range| range.parse().unwrap());
        let ours = |route: &link::Route| ranges.iter().any(|range| range.contains(&route.destination));
        let routes = link::routes(&mut socket()).unwrap();
        assert!(!routes.iter().any(ours), "{routes:?}");
        let links = link::links(&mut socket()).unwrap();
        assert!(!links.iter().any(|link| link.name.starts_with("gnode")), "{links:?}");
        let localnet = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap();
        assert_eq!(localnet.trim(), "0");
    });
}

#[test]
fn udp_services_lead_to_other_nodes_too() {
    let (one, two, _router) = far(1500);
    one.know(&[&two]);
    two.know(&[&one]);
    let (client, pod) = (one.pod(1), two.pod(1));
    let _server = pod.serve(8080);
    let mut wanted = port_service(Protocol::Udp, &[]);
    wanted.ports[0].endpoints = vec![Endpoint {
        local: false,
        ..pod.endpoint(8080)
    }];
    one.network.apply(&table(wanted)).unwrap();
    let answer = client.place.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        ask_datagram(&socket, (VIP, 80))
    });
    assert_eq!(answer.unwrap(), (pod.ip().to_string(), client.ip().to_string()));
    leave_no_trace(one);
    leave_no_trace(two);
}
