//! A world: the namespace that plays the host, those of pods, and servers and clients in them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::Ipv4Net;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::link::{self, NewRoute, Pair};
use crate::netlink::{Messages, Socket};
use crate::{Attachment, Config, Endpoint, InstanceId, Network, Protocol, Service, ServicePort, ServiceTable, SlotId};

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub(super) const WAIT: Duration = Duration::from_secs(3);

/// Runs a test on a thread whose network namespace is fresh: the host.
pub(super) fn on_host(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            enter_fresh_namespace();
            let mut socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
            let mut messages = Messages::default();
            link::set_up(&mut messages, 1, &[]);
            socket.transact(&messages).unwrap();
            test();
        });
        if let Err(panic) = host.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn enter_fresh_namespace() {
    // SAFETY: only the network namespace of this thread changes; no file descriptors or memory are unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("the tests of the network need root");
}

pub(super) fn namespace_of_this_thread() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// A network namespace other than the host's.
pub(super) struct Place {
    pub(super) namespace: File,
}

impl Place {
    pub(super) fn new() -> Place {
        let made = std::thread::spawn(|| {
            enter_fresh_namespace();
            namespace_of_this_thread()
        });
        Place {
            namespace: made.join().unwrap(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.namespace.as_raw_fd()))
    }

    /// Runs something in this namespace.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            there.join().unwrap()
        })
    }
}

/// A pod: its namespace and attachment.
pub(super) struct Pod {
    pub(super) place: Place,
    pub(super) attachment: Attachment,
}

impl Pod {
    pub(super) fn new(network: &Network, slot: u32) -> Pod {
        let place = Place::new();
        let attachment = network.attach(&place.path(), SlotId(slot)).unwrap();
        Pod { place, attachment }
    }

    pub(super) fn ip(&self) -> Ipv4Addr {
        let IpAddr::V4(address) = self.attachment.address() else {
            panic!("an IPv4 address")
        };
        address
    }

    /// Serves TCP and UDP on a port with the pod's address and the client's.
    pub(super) fn serve(&self, port: u16) -> Server {
        let name = self.ip().to_string();
        self.place
            .run(|| Server::start(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), &name))
    }

    pub(super) fn endpoint(&self, port: u16) -> Endpoint {
        Endpoint {
            address: self.attachment.address(),
            port,
            local: true,
        }
    }
}

/// Answers each connection and datagram with its name and the client's address.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // As a process that ends well: what it has accepted it answers.
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Server {
    /// Starts it in the namespace of the calling thread.
    pub(super) fn start(address: SocketAddr, name: &str) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind(address).unwrap();
        let datagrams = UdpSocket::bind(address).unwrap();
        let (name, stopped) = (name.to_owned(), stop.clone());
        let tcp_name = name.clone();
        let tcp_stopped = stop.clone();
        listener.set_nonblocking(true).unwrap();
        let accepting = std::thread::spawn(move || {
            loop {
                let last = tcp_stopped.load(Ordering::Relaxed);
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        let _ = stream.write_all(format!("{tcp_name} {}", peer.ip()).as_bytes());
                    }
                    Err(_) if last => return,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        datagrams.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = datagrams.recv_from(&mut buffer) {
                    let _ = datagrams.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
                }
            }
        });
        Server {
            stop,
            accepting: Some(accepting),
        }
    }
}

/// Asks over TCP; returns who answered, and by which address it saw the client.
pub(super) fn ask(address: impl Into<SocketAddr>) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&address.into(), WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(split(&text))
}

/// Asks over UDP from a given socket.
pub(super) fn ask_datagram(socket: &UdpSocket, address: impl Into<SocketAddr>) -> io::Result<(String, String)> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send_to(b"?", address.into())?;
    let mut buffer = [0; 64];
    let (read, _) = socket.recv_from(&mut buffer)?;
    Ok(split(&String::from_utf8_lossy(&buffer[..read])))
}

fn split(text: &str) -> (String, String) {
    let (name, seen) = text.split_once(' ').unwrap_or((text, ""));
    (name.to_owned(), seen.to_owned())
}

/// A machine on the same wire as the host.
pub(super) fn outside() -> Place {
    let place = Place::new();
    let mut host = Socket::open(libc::NETLINK_ROUTE).unwrap();
    let mut messages = Messages::default();
    link::add_pair(
        &mut messages,
        &Pair {
            name: "wire0",
            mac: [2, 0, 0, 0, 0, 1],
            peer_name: "wire1",
            peer_mac: [2, 0, 0, 0, 0, 2],
            peer_namespace: place.namespace.as_fd(),
            mtu: 1500,
        },
    );
    host.transact(&messages).unwrap();
    give_address(&mut host, "wire0", HOST, OUTSIDE);
    place.run(|| give_address(&mut Socket::open(libc::NETLINK_ROUTE).unwrap(), "wire1", OUTSIDE, HOST));
    place
}

fn give_address(socket: &mut Socket, name: &str, address: Ipv4Addr, gateway: Ipv4Addr) {
    let index = link::find(socket, name).unwrap().unwrap().index;
    let mut messages = Messages::default();
    link::set_up(&mut messages, 1, &[]);
    link::set_up(&mut messages, index, &[]);
    link::add_address(&mut messages, index, Ipv4Net::new(address, 24).unwrap());
    let destination = Ipv4Net::default();
    // The outside has no way to pods: what comes to it must bear the host's address.
    if name == "wire0" {
        let route = NewRoute {
            gateway: Some(gateway),
            ..NewRoute::to(destination, index)
        };
        link::add_route(&mut messages, route);
    }
    socket.transact(&messages).unwrap();
}

pub(super) fn config(id: &str, pods: &str, services: &str, dir: &tempfile::TempDir) -> Config {
    Config {
        instance: InstanceId::new(id).unwrap(),
        state_dir: dir.path().join("network"),
        pod_cidr: pods.parse().unwrap(),
        cluster_cidr: pods.parse().unwrap(),
        service_cidr: services.parse().unwrap(),
        mtu: None,
    }
}

pub(super) fn open(dir: &tempfile::TempDir) -> Network {
    Network::open(config("a1b2c3", "10.42.0.0/24", "10.96.0.0/16", dir)).unwrap()
}

/// A service of one TCP port 80 at `VIP`, to endpoints on port 8080.
pub(super) fn service(pods: &[&Pod]) -> Service {
    port_service(Protocol::Tcp, pods)
}

pub(super) fn port_service(protocol: Protocol, pods: &[&Pod]) -> Service {
    let endpoints: Vec<Endpoint> = pods.iter().map(|pod| pod.endpoint(8080)).collect();
    Service {
        cluster_ips: vec![IpAddr::V4(VIP)],
        ports: vec![ServicePort {
            protocol,
            port: 80,
            node_port: Some(30080),
            local_endpoints: endpoints.clone(),
            endpoints,
        }],
        ..Service::default()
    }
}

pub(super) fn table(service: Service) -> ServiceTable {
    ServiceTable {
        services: [("default/web".to_owned(), Arc::new(service))].into(),
        local: Vec::new(),
    }
}
