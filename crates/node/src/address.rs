//! The node's own address: the one that was given, or else the one that leads to the world, followed when it changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Changes of IPv4 addresses and routes (rtnetlink(7)).
const GROUPS: u32 = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV4_ROUTE) as u32;

/// The address as it is now. Clones are the same one.
#[derive(Clone)]
pub(crate) struct HostIp(watch::Receiver<IpAddr>);

/// Finds out what the address is.
pub(crate) struct Follower {
    given: bool,
    known: watch::Sender<IpAddr>,
}

// === impl HostIp ===

impl HostIp {
    /// What it is.
    pub(crate) fn get(&self) -> IpAddr {
        *self.0.borrow()
    }

    /// A view of it for who follows it by other means.
    pub(crate) fn watch(&self) -> watch::Receiver<IpAddr> {
        self.0.clone()
    }

    /// Waits until it is another one.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

// === impl Follower ===

impl Follower {
    /// Begins with what is given or found.
    pub(crate) fn new(given: Option<IpAddr>) -> (Self, HostIp) {
        let (known, reader) = watch::channel(given.unwrap_or_else(towards_the_world));
        let follower = Self {
            given: given.is_some(),
            known,
        };
        (follower, HostIp(reader))
    }

    /// Follows it until dropped; an address that was given stays.
    pub(crate) async fn run(self) {
        if self.given {
            std::future::pending::<()>().await;
        }
        if let Err(error) = self.follow().await {
            tracing::warn!(%error, "the kernel tells no changes of addresses; the node keeps the one that it has");
            std::future::pending::<()>().await;
        }
    }

    async fn follow(&self) -> io::Result<()> {
        let socket = subscribe()?;
        // SAFETY: the socket owns its descriptor, which is neither replaced nor closed while `events` has it.
        let events = unsafe { AsyncFd::register(socket) }?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // What the messages say is of no interest, only that there was a change.
            let mut ready = events.readable().await?;
            loop {
                match rustix::net::recv(events.get_ref().as_fd(), &mut *buffer, RecvFlags::empty()) {
                    Ok(_) | Err(rustix::io::Errno::NOBUFS) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            let now = towards_the_world();
            // Between two addresses there may be none for a moment, which is no address to tell.
            if !now.is_loopback() {
                self.known.send_if_modified(|known| {
                    let changed = *known != now;
                    *known = now;
                    changed
                });
            }
        }
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// The address that this host has towards the world; nothing is sent to find out.
fn towards_the_world() -> IpAddr {
    let towards = |target: &str| {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    towards("192.0.2.255:9")
        .or_else(|| towards("10.255.255.255:9"))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
