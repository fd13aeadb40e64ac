//! The short cut between two pods of one node: what takes it, and what must not.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::num::{NonZeroU16, NonZeroU32};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, ipproto, sockopt};

use super::world::*;
use crate::fast::{self, State};
use crate::netlink::{DUMP, Socket, attr};
use crate::nft::{Base, Batch, Rule, Target};
use crate::{Network, attach, conntrack};

/// More than a window, so that conntrack loses track when it doesn't see it.
const MUCH: usize = 8 << 20;
const ESTABLISHED: u8 = 3;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A connection between two places, by the address that the client asks for.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

fn listen(pod: &Pod, port: u16) -> TcpListener {
    pod.place
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
}

/// Connects from a port, or from any with 0.
fn connect(client: &Pod, from: u16, listener: &TcpListener, address: (Ipv4Addr, u16)) -> Connection {
    let client = client.place.run(|| {
        let socket = from_port(from, WAIT);
        rustix::net::connect(&socket, &SocketAddr::from(address)).unwrap();
        TcpStream::from(socket)
    });
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
    }
    Connection { client, server }
}

/// A socket with a port, or any with 0, that waits so long to be connected.
fn from_port(port: u16, wait: Duration) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(wait)).unwrap();
    socket
}

/// Much goes from one to the other, and a word comes back.
fn carry(one: &mut TcpStream, other: &mut TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; MUCH];
            other.read_exact(&mut buffer).unwrap();
            assert!(buffer.iter().all(|byte| *byte == 7));
            other.write_all(b"thanks").unwrap();
        });
        one.write_all(&vec![7; MUCH]).unwrap();
        let mut word = [0; 6];
        one.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"thanks");
    });
}

impl Connection {
    fn carries(&mut self) {
        carry(&mut self.client, &mut self.server);
        carry(&mut self.server, &mut self.client);
    }

    /// The client has no more to say, the server says much nevertheless; then both are done.
    fn ends(mut self) {
        self.client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(self.server.read(&mut [0; 1]).unwrap(), 0);
        let mut server = self.server;
        std::thread::scope(|scope| {
            scope.spawn(|| server.write_all(&vec![7; MUCH]).unwrap());
            self.client.read_exact(&mut vec![0; MUCH]).unwrap();
        });
        drop(server);
        assert_eq!(self.client.read(&mut [0; 1]).unwrap(), 0);
    }
}

fn cut(network: &Network) -> &fast::FastPath {
    network
        .fast
        .as_ref()
        .expect("this kernel has what the short cut is made of")
}

/// Packets that took the short cut, there and back.
fn taken(network: &Network, one: &Pod, two: &Pod) -> (u64, u64) {
    (
        cut(network).taken(one.ip(), two.ip()),
        cut(network).taken(two.ip(), one.ip()),
    )
}

/// The programs go, as when a process without them starts.
fn strip(pods: &[&Pod]) {
    let mut socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
    for pod in pods {
        let link = attach::find(&mut socket, &pod.attachment.host_link).unwrap().unwrap();
        fast::strip(&mut socket, link.index).unwrap();
    }
}

fn hang(network: &Network, pods: &[&Pod]) {
    let mut socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
    for pod in pods {
        let link = attach::find(&mut socket, &pod.attachment.host_link).unwrap().unwrap();
        cut(network).add(&mut socket, link.index, pod.ip());
    }
}

/// The states of all TCP connections that the host's conntrack has, and for how many seconds it keeps them.
fn tracked() -> Vec<(u8, u32)> {
    const SUBSYSTEM: u16 = 1;
    const GET: u16 = 1;
    const PROTOCOL_INFO: u16 = 4;
    const TCP: u16 = 1;
    const STATE: u16 = 1;
    const TIMEOUT: u16 = 7;
    let mut socket = Socket::open(libc::NETLINK_NETFILTER).unwrap();
    let found = socket.dump(|messages| {
        let header = [libc::AF_INET as u8, 0, 0, 0];
        messages.push(SUBSYSTEM << 8 | GET, DUMP, "listing connections", &header, |_| {});
    });
    let read = |body: &[u8]| {
        let attributes = body.get(4..)?;
        let state = attr(attr(attr(attributes, PROTOCOL_INFO)?, TCP)?, STATE)?
            .first()
            .copied();
        let kept = attr(attributes, TIMEOUT)?.first_chunk()?;
        Some((state?, u32::from_be_bytes(*kept)))
    };
    found.unwrap().iter().filter_map(|one| read(&one.body)).collect()
}

/// Whether conntrack will soon have forgotten all connections. It keeps one that goes on for days.
fn is_over() -> bool {
    tracked().iter().all(|(_, kept)| *kept <= 120)
}

/// A packet of TCP as somebody makes it up: headers only, with a wrong checksum.
struct Crafted(Vec<u8>, Ipv4Addr);

impl Crafted {
    fn new(from: Ipv4Addr, to: Ipv4Addr, ports: (u16, u16), flags: u8) -> Crafted {
        let mut bytes = vec![0; 40];
        // The kernel fills in the rest.
        (bytes[0], bytes[8], bytes[9]) = (0x45, 64, 6);
        bytes[12..16].copy_from_slice(&from.octets());
        bytes[16..20].copy_from_slice(&to.octets());
        bytes[20..22].copy_from_slice(&ports.0.to_be_bytes());
        bytes[22..24].copy_from_slice(&ports.1.to_be_bytes());
        (bytes[32], bytes[33]) = (5 << 4, flags);
        Crafted(bytes, to)
    }

    fn leaves(&self, pod: &Pod) {
        pod.place.run(|| {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap();
            rustix::net::sendto(&socket, &self.0, SendFlags::empty(), &SocketAddrV4::new(self.1, 0)).unwrap();
        });
    }
}

fn with_two(test: impl FnOnce(&Network, &Pod, &Pod) + Send) {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let (one, two) = (Pod::new(&network, 1), Pod::new(&network, 2));
        test(&network, &one, &two);
        network.teardown().unwrap();
    });
}

#[test]
fn a_connection_between_pods_takes_the_short_cut_both_ways() {
    with_two(|network, one, two| {
        let listener = listen(two, 8080);
        let mut connection = connect(one, 0, &listener, (two.ip(), 8080));
        let handshake: Vec<u8> = tracked().iter().map(|(state, _)| *state).collect();
        assert_eq!(handshake, [ESTABLISHED], "the stack has seen the handshake");
        connection.carries();
        let (there, back) = taken(network, one, two);
        assert!(there > 50 && back > 50, "{there} {back}");
        connection.ends();
        assert_eq!(taken(network, one, two), (0, 0), "what has ended is forgotten");
        assert!(is_over(), "{:?}", tracked());
    });
}

#[test]
fn the_short_cut_leaves_packets_as_the_host_would() {
    with_two(|network, one, two| {
        let heard = two.place.run(|| {
            let ipv4 = NonZeroU32::from(NonZeroU16::new(0x0800u16.to_be()).unwrap());
            let protocol = Protocol::from_raw(ipv4);
            let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, Some(protocol)).unwrap();
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(WAIT)).unwrap();
            socket
        });
        let listener = listen(two, 8080);
        let mut connection = connect(one, 0, &listener, (two.ip(), 8080));
        connection.client.write_all(b"hello").unwrap();
        connection.server.read_exact(&mut [0; 5]).unwrap();
        assert!(taken(network, one, two).0 > 0);
        let [a, b, c, d] = two.ip().octets();
        let expected = [&attach::POD_MAC[..], &[a, b, c, d], &attach::HOST_MAC].concat();
        // The question, the client's first packet after the answer, and this.
        for _ in 0..3 {
            let mut packet = [0; 100];
            let (read, _) = rustix::net::recv(&heard, &mut packet, RecvFlags::empty()).unwrap();
            assert!(read >= 54);
            assert_eq!(packet[..12], expected);
        }
        connection.ends();
    });
}

#[test]
fn the_stack_sees_a_connection_that_is_broken_off() {
    with_two(|network, one, two| {
        let listener = listen(two, 8080);
        let mut connection = connect(one, 0, &listener, (two.ip(), 8080));
        connection.carries();
        sockopt::set_socket_linger(&connection.client, Some(Duration::ZERO)).unwrap();
        drop(connection.client);
        assert!(connection.server.read(&mut [0; 1]).is_err());
        assert_eq!(taken(network, one, two), (0, 0));
        assert!(is_over(), "{:?}", tracked());
    });
}

#[test]
fn a_service_stays_with_the_stack() {
    with_two(|network, one, two| {
        network.apply(&table(service(&[two]))).unwrap();
        let listener = listen(two, 8080);
        let mut connection = connect(one, 0, &listener, (VIP, 80));
        connection.carries();
        assert!(cut(network).states(one.ip(), two.ip()).is_empty());
        assert!(cut(network).states(two.ip(), one.ip()).is_empty());
        connection.ends();
    });
}

#[test]
fn a_service_is_reached_by_the_port_of_an_earlier_connection() {
    with_two(|network, one, two| {
        network.apply(&table(service(&[two]))).unwrap();
        let listener = listen(two, 8080);
        let mut direct = connect(one, 45_000, &listener, (two.ip(), 8080));
        direct.carries();
        // Its end isn't seen, and conntrack, which would give the next one another port, has had time to forget it.
        strip(&[one, two]);
        direct.ends();
        let mut netfilter = Socket::open(libc::NETLINK_NETFILTER).unwrap();
        conntrack::forget_addresses(&mut netfilter, &HashSet::from([two.ip()])).unwrap();
        hang(network, &[one, two]);
        let before = taken(network, one, two);
        assert!(before.0 > 0 && before.1 > 0, "it is still remembered: {before:?}");
        let mut connection = connect(one, 45_000, &listener, (VIP, 80));
        connection.carries();
        assert_eq!(taken(network, one, two), (before.0, 0));
        connection.ends();
    });
}

#[test]
fn a_service_and_its_pod_are_reached_from_one_port_at_once() {
    with_two(|network, one, two| {
        network.apply(&table(service(&[two]))).unwrap();
        let listener = listen(two, 8080);
        let mut direct = connect(one, 45_000, &listener, (two.ip(), 8080));
        let mut by_service = connect(one, 45_000, &listener, (VIP, 80));
        direct.carries();
        by_service.carries();
        direct.carries();
        assert!(taken(network, one, two).0 > 50);
        direct.ends();
        by_service.ends();

        // The other way round the host gives the direct one another port, so it can't be short.
        let mut by_service = connect(one, 45_001, &listener, (VIP, 80));
        let mut direct = connect(one, 45_001, &listener, (two.ip(), 8080));
        direct.carries();
        by_service.carries();
        assert_eq!(taken(network, one, two), (0, 0));
        direct.ends();
        by_service.ends();
    });
}

#[test]
fn a_connection_outlives_the_programs_and_the_process() {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let (one, two) = (Pod::new(&network, 1), Pod::new(&network, 2));
        let listener = listen(&two, 8080);
        let mut first = connect(&one, 0, &listener, (two.ip(), 8080));
        let mut second = connect(&one, 0, &listener, (two.ip(), 8080));
        first.carries();
        second.carries();
        strip(&[&one, &two]);
        first.carries();
        first.ends();
        hang(&network, &[&one, &two]);
        second.carries();
        drop(network);
        second.carries();
        let network = open(&dir);
        second.carries();
        assert_eq!(taken(&network, &one, &two), (0, 0), "what began before is not known");
        let mut third = connect(&one, 0, &listener, (two.ip(), 8080));
        third.carries();
        assert!(taken(&network, &one, &two).0 > 50);
        second.ends();
        third.ends();
        assert!(is_over(), "{:?}", tracked());
        network.teardown().unwrap();
    });
}

#[test]
fn what_a_rule_drops_does_not_become_known() {
    with_two(|network, one, two| {
        let mut netfilter = Socket::open(libc::NETLINK_NETFILTER).unwrap();
        let mut batch = Batch::new("policy");
        batch.table(&[]);
        let (kind, hook, priority) = ("filter", 2, 0);
        batch.chain("forward", Some(Base { kind, hook, priority }));
        let answers = Rule::default().from(attach::single(two.ip()), false);
        batch.rule("forward", &answers.then(Target::Drop));
        batch.commit(&mut netfilter).unwrap();
        let _listener = listen(two, 8080);
        let client = one.place.run(|| from_port(45_000, Duration::from_millis(300)));
        assert!(rustix::net::connect(&client, &SocketAddr::from((two.ip(), 8080))).is_err());
        assert_eq!(cut(network).states(one.ip(), two.ip()), [State::Answered as i32]);
        // Though the pods should agree to go on as if it had come.
        Crafted::new(one.ip(), two.ip(), (45_000, 8080), ACK).leaves(one);
        assert_eq!(cut(network).states(one.ip(), two.ip()), [State::Answered as i32]);
    });
}

#[test]
fn a_pod_does_not_speak_as_another_one() {
    with_two(|network, one, two| {
        let third = Pod::new(network, 3);
        let listener = listen(two, 8080);
        let connection = connect(one, 45_000, &listener, (two.ip(), 8080));
        let before = taken(network, one, two).0;
        let crafted = |flags| Crafted::new(one.ip(), two.ip(), (45_000, 8080), flags);
        crafted(ACK).leaves(&third);
        crafted(RST).leaves(&third);
        assert_eq!(taken(network, one, two).0, before);
        assert_eq!(cut(network).states(one.ip(), two.ip()), [State::Known as i32]);
        crafted(ACK).leaves(one);
        let (start, passed) = (Instant::now(), || taken(network, one, two).0 == before + 1);
        while !passed() && start.elapsed() < WAIT {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(passed(), "from whom it claims to be, it passes");
        connection.ends();
    });
}

#[test]
fn pods_get_packets_of_a_gone_pod_from_nobody() {
    with_two(|network, one, two| {
        let third = Pod::new(network, 3);
        let listener = listen(&third, 8080);
        let mut connection = connect(one, 0, &listener, (third.ip(), 8080));
        connection.carries();
        let before = taken(network, one, &third).0;
        network.detach(third.attachment.slot).unwrap();
        connection.client.write_all(b"still there?").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(taken(network, one, &third).0, before);
        let listener = listen(two, 8080);
        connect(one, 0, &listener, (two.ip(), 8080)).ends();
    });
}
