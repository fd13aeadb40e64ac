//! A slot's link: made, found, deleted. Each function is given the sockets and does one thing with the kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::path::Path;

use ipnet::Ipv4Net;
use meta::failpoint;

use crate::config::SlotId;
use crate::error::Error;
use crate::link::{self, Mac, NewRoute, Pair, setting};
use crate::netlink::{Messages, Socket};
use crate::netns;

/// The name of the link inside a pod.
pub const POD_LINK: &str = "eth0";
/// Where pods send all packets. No host has this address: a permanent neighbour stands for it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The host's end of every pod link; a link has two ends only, so that all may share one address.
pub(crate) const HOST_MAC: Mac = [0x0a, 0x67, 0xfe, 0xfe, 0xfe, 0xfe];

/// What the hardware address of a pod's end begins with; its address follows.
pub(crate) const POD_MAC: [u8; 2] = [0x0a, 0x58];

/// A slot that is part of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Whose it is.
    pub slot: SlotId,
    /// Its addresses: the first is the primary one. One of IPv4 for now.
    pub addresses: Vec<IpAddr>,
    /// The host end of its link.
    pub host_link: String,
    /// The link's largest packet.
    pub mtu: u32,
}

impl Attachment {
    /// The primary address.
    pub fn address(&self) -> IpAddr {
        self.addresses
            .first()
            .copied()
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// What is needed to make a slot's link.
pub(crate) struct Plan<'a> {
    pub(crate) link: &'a str,
    pub(crate) address: Ipv4Addr,
    pub(crate) node_address: Ipv4Addr,
    pub(crate) namespace: &'a Path,
    pub(crate) mtu: u32,
}

/// Makes the link and all that belongs to it, on both sides; returns the index of the host's end.
pub(crate) fn make(host: &mut Socket, plan: &Plan<'_>) -> Result<u32, Error> {
    let namespace = netns::open(plan.namespace).map_err(|source| Error::file(plan.namespace, source))?;
    let mut pod = netns::route_socket(&namespace)
        .map_err(|source| Error::kernel(format!("entering the namespace {}", plan.namespace.display()), source))?;
    let mut messages = Messages::default();
    let pair = Pair {
        name: plan.link,
        mac: HOST_MAC,
        peer_name: POD_LINK,
        peer_mac: pod_mac(plan.address),
        peer_namespace: namespace.as_fd(),
        mtu: plan.mtu,
    };
    link::add_pair(&mut messages, &pair);
    send(host, &messages)?;
    failpoint::hit("network.attach.linked");
    let index = index_of(host, plan.link)?;
    let pod_index = index_of(&mut pod, POD_LINK)?;
    send(&mut pod, &pod_side(pod_index, plan))?;
    send(host, &host_side(index, plan))?;
    failpoint::hit("network.attach.routed");
    pod.sync_link(POD_LINK)
        .map_err(|source| Error::kernel(format!("waiting for the link {}", plan.link), source))?;
    Ok(index)
}

/// Removes the route to a slot, so that its address leads nowhere; the link itself is slow to delete.
pub(crate) fn unroute(host: &mut Socket, name: &str, address: Ipv4Addr) -> Result<Option<u32>, Error> {
    let Some(found) = find(host, name)? else {
        return Ok(None);
    };
    let mut messages = Messages::default();
    link::delete_route(&mut messages, route_to(found.index, address, None));
    match host.transact(&messages) {
        Ok(()) => Ok(Some(found.index)),
        Err(refused) if refused.source.raw_os_error() == Some(libc::ESRCH) => Ok(Some(found.index)),
        Err(refused) => Err(Error::kernel(refused.what, refused.source)),
    }
}

/// Deletes links, all at once; those that are gone already are no error.
pub(crate) fn delete(host: &mut Socket, indexes: &[u32], group: u32) -> Result<(), Error> {
    let mut requests: Vec<Messages> = Vec::new();
    for index in indexes {
        let mut messages = Messages::default();
        link::set_group(&mut messages, *index, group);
        requests.push(messages);
    }
    let mut messages = Messages::default();
    link::delete_group(&mut messages, group);
    requests.push(messages);
    for messages in requests {
        match host.transact(&messages) {
            Err(refused) if !matches!(refused.source.raw_os_error(), Some(libc::ENODEV | libc::ESRCH)) => {
                return Err(Error::kernel(refused.what, refused.source));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn find(host: &mut Socket, name: &str) -> Result<Option<link::Link>, Error> {
    link::find(host, name).map_err(|source| Error::kernel(format!("looking for the link {name}"), source))
}

/// Sends requests of which each must succeed.
pub(crate) fn send(socket: &mut Socket, messages: &Messages) -> Result<(), Error> {
    socket
        .transact(messages)
        .map_err(|refused| Error::kernel(refused.what, refused.source))
}

fn index_of(socket: &mut Socket, name: &str) -> Result<u32, Error> {
    let gone = || Error::kernel(format!("the link {name}"), io::Error::from_raw_os_error(libc::ENODEV));
    find(socket, name)?.map(|found| found.index).ok_or_else(gone)
}

fn pod_side(index: u32, plan: &Plan<'_>) -> Messages {
    let mut messages = Messages::default();
    link::set_up(&mut messages, 1, &[]);
    // The host answers a packet that leaves by the link it came from with a redirect; following it would break hairpins.
    link::set_up(&mut messages, index, &[(setting::ACCEPT_REDIRECTS, 0)]);
    link::add_address(&mut messages, index, single(plan.address));
    link::add_neighbour(&mut messages, index, GATEWAY, HOST_MAC);
    let to_gateway = route_to(index, GATEWAY, None);
    link::add_route(&mut messages, to_gateway);
    let all = Ipv4Net::default();
    link::add_route(
        &mut messages,
        NewRoute {
            destination: all,
            gateway: Some(GATEWAY),
            ..to_gateway
        },
    );
    messages
}

fn host_side(index: u32, plan: &Plan<'_>) -> Messages {
    let mut messages = Messages::default();
    link::no_ipv6_address(&mut messages, index, plan.mtu);
    // A pod can't use another one's address. Replies to 127.0.0.1 come in here too; what pods send there themselves is
    // dropped by a rule.
    let settings = [
        (setting::RP_FILTER, 1),
        (setting::ROUTE_LOCALNET, 1),
        (setting::SEND_REDIRECTS, 0),
    ];
    link::set_up(&mut messages, index, &settings);
    link::add_neighbour(&mut messages, index, plan.address, pod_mac(plan.address));
    link::add_route(&mut messages, route_to(index, plan.address, Some(plan.node_address)));
    messages
}

fn route_to(link: u32, address: Ipv4Addr, source: Option<Ipv4Addr>) -> NewRoute {
    NewRoute {
        source,
        ..NewRoute::to(single(address), link)
    }
}

/// The network of one address.
pub(crate) fn single(address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::from(address)
}

/// A locally administered address that follows from the pod's.
fn pod_mac(address: Ipv4Addr) -> Mac {
    let ([one, two], [a, b, c, d]) = (POD_MAC, address.octets());
    [one, two, a, b, c, d]
}
