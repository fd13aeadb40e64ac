//! Route netlink: links, addresses, routes and neighbours, one function per request. It decides nothing.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use ipnet::Ipv4Net;

use crate::netlink::{self, ACK, Attrs, CREATE, EXCLUSIVE, Messages, REPLACE, Socket, attr, attrs};

/// Routes of ours carry this protocol number, so that they can be told from the host's.
pub(crate) const ROUTE_PROTOCOL: u8 = 103;

const INET: u8 = libc::AF_INET as u8;
const INET6: u8 = libc::AF_INET6 as u8;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDRESS_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const IPV6_SMALLEST_MTU: u32 = 1280;
const RTAX_MTU: u16 = 2;
/// The gateway is reached by the link itself, whatever the routes say.
const ON_LINK: u32 = 4;

/// Settings of one interface (`net.ipv4.conf.IF.*`) by their number.
pub(crate) mod setting {
    pub(crate) const ACCEPT_REDIRECTS: u16 = 4;
    pub(crate) const SEND_REDIRECTS: u16 = 6;
    pub(crate) const RP_FILTER: u16 = 8;
    pub(crate) const ROUTE_LOCALNET: u16 = 26;
}

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// A link of the host.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
}

/// An IPv4 route of the host's main table.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Net,
    pub(crate) link: Option<u32>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) mtu: Option<u32>,
    pub(crate) protocol: u8,
}

impl Route {
    /// Whether it is one of ours and leads to a part of `range`.
    pub(crate) fn is_within(&self, range: Ipv4Net) -> bool {
        self.protocol == ROUTE_PROTOCOL && range.contains(&self.destination)
    }

    /// As a request: to delete it, or to compare.
    pub(crate) fn as_new(&self) -> NewRoute {
        NewRoute {
            gateway: self.gateway,
            source: self.source,
            mtu: self.mtu,
            ..NewRoute::to(self.destination, self.link.unwrap_or_default())
        }
    }
}

/// The way that the kernel would send a packet to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the address itself, on this link.
    Link(u32),
    /// To a router, on this link.
    Router(u32),
    /// Nowhere: the address is the host's own.
    Own,
}

/// An IPv4 address of the host.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) network: Ipv4Net,
    pub(crate) link: u32,
}

pub(crate) fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Both ends of a new link.
pub(crate) struct Pair<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Mac,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: Mac,
    pub(crate) peer_namespace: BorrowedFd<'a>,
    pub(crate) mtu: u32,
}

/// Makes a pair of links, the second one right in its namespace: moving it there later would cost milliseconds.
pub(crate) fn add_pair(messages: &mut Messages, pair: &Pair<'_>) {
    let what = format!("making the link {}", pair.name);
    messages.push(
        libc::RTM_NEWLINK,
        ACK | CREATE | EXCLUSIVE,
        what,
        &link_header(0, 0),
        |link| {
            link.text(libc::IFLA_IFNAME, pair.name)
                .u32(libc::IFLA_MTU, pair.mtu)
                .bytes(libc::IFLA_ADDRESS, &pair.mac);
            link.nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth")
                    .nest(libc::IFLA_INFO_DATA, |data| {
                        data.nest(VETH_INFO_PEER, |peer| {
                            peer.raw(&link_header(0, 0)).text(libc::IFLA_IFNAME, pair.peer_name);
                            peer.u32(libc::IFLA_MTU, pair.mtu)
                                .bytes(libc::IFLA_ADDRESS, &pair.peer_mac);
                            peer.u32(libc::IFLA_NET_NS_FD, pair.peer_namespace.as_raw_fd() as u32);
                        });
                    });
            });
        },
    );
}

/// Sets a link up, with IPv4 settings and no IPv6 address of its own.
pub(crate) fn set_up(messages: &mut Messages, index: u32, settings: &[(u16, u32)]) {
    let up = libc::IFF_UP as u32;
    messages.push(
        libc::RTM_NEWLINK,
        ACK,
        format!("setting link {index} up"),
        &link_header(index, up),
        |link| {
            if settings.is_empty() {
                return;
            }
            link.nest(libc::IFLA_AF_SPEC, |families| {
                families.nest(u16::from(INET), |inet| {
                    inet.nest(IFLA_INET_CONF, |conf| {
                        for (setting, value) in settings {
                            conf.u32(*setting, *value);
                        }
                    });
                });
            });
        },
    );
}

/// Keeps the kernel from giving a link an IPv6 address by itself. A link of too small packets has no IPv6, nor has any
/// where the host was started without it; the kernel refuses to be asked then.
pub(crate) fn no_ipv6_address(messages: &mut Messages, index: u32, mtu: u32) {
    if mtu < IPV6_SMALLEST_MTU || !Path::new("/proc/net/if_inet6").exists() {
        return;
    }
    messages.push(
        libc::RTM_NEWLINK,
        ACK,
        format!("setting link {index}"),
        &link_header(index, 0),
        |link| {
            link.nest(libc::IFLA_AF_SPEC, |families| {
                families.nest(u16::from(INET6), |inet6| {
                    inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[ADDRESS_MODE_NONE]);
                });
            });
        },
    );
}

/// Puts a link into a group.
pub(crate) fn set_group(messages: &mut Messages, index: u32, group: u32) {
    messages.push(
        libc::RTM_NEWLINK,
        ACK,
        format!("grouping link {index}"),
        &link_header(index, 0),
        |link| {
            link.u32(libc::IFLA_GROUP, group);
        },
    );
}

/// Deletes all links of a group, and their peers. The kernel waits once for all of them.
pub(crate) fn delete_group(messages: &mut Messages, group: u32) {
    messages.push(libc::RTM_DELLINK, ACK, "deleting links", &link_header(0, 0), |link| {
        link.u32(libc::IFLA_GROUP, group);
    });
}

/// Deletes one link.
pub(crate) fn delete(messages: &mut Messages, index: u32) {
    let what = format!("deleting the link {index}");
    messages.push(libc::RTM_DELLINK, ACK, what, &link_header(index, 0), |_| {});
}

/// Sets the largest packet of a link.
pub(crate) fn set_mtu(messages: &mut Messages, index: u32, mtu: u32) {
    let what = format!("setting the MTU of link {index}");
    messages.push(libc::RTM_NEWLINK, ACK, what, &link_header(index, 0), |link| {
        link.u32(libc::IFLA_MTU, mtu);
    });
}

/// Gives a link an address.
pub(crate) fn add_address(messages: &mut Messages, index: u32, network: Ipv4Net) {
    let what = format!("adding the address {network}");
    messages.push(
        libc::RTM_NEWADDR,
        ACK | CREATE | REPLACE,
        what,
        &address_header(index, network),
        |body| {
            address_body(body, network);
        },
    );
}

/// Takes an address from a link.
pub(crate) fn delete_address(messages: &mut Messages, index: u32, network: Ipv4Net) {
    let what = format!("deleting the address {network}");
    messages.push(libc::RTM_DELADDR, ACK, what, &address_header(index, network), |body| {
        address_body(body, network)
    });
}

fn address_header(index: u32, network: Ipv4Net) -> [u8; 8] {
    let mut header = [INET, network.prefix_len(), 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

fn address_body(body: &mut Attrs, network: Ipv4Net) {
    body.bytes(libc::IFA_LOCAL, &network.addr().octets())
        .bytes(libc::IFA_ADDRESS, &network.addr().octets());
}

/// Makes a neighbour that is known for good.
pub(crate) fn add_neighbour(messages: &mut Messages, index: u32, address: Ipv4Addr, mac: Mac) {
    let mut header = [0; 12];
    header[0] = INET;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    let what = format!("adding the neighbour {address}");
    messages.push(libc::RTM_NEWNEIGH, ACK | CREATE | REPLACE, what, &header, |body| {
        body.bytes(libc::NDA_DST, &address.octets())
            .bytes(libc::NDA_LLADDR, &mac);
    });
}

/// A route to be made or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewRoute {
    pub(crate) destination: Ipv4Net,
    /// 0: nowhere, which the sender is told.
    pub(crate) link: u32,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) mtu: Option<u32>,
}

impl NewRoute {
    /// A plain route by a link.
    pub(crate) fn to(destination: Ipv4Net, link: u32) -> NewRoute {
        NewRoute {
            destination,
            link,
            gateway: None,
            source: None,
            mtu: None,
        }
    }
}

/// Makes a route, or puts it in the place of ours to the same destination.
pub(crate) fn add_route(messages: &mut Messages, route: NewRoute) {
    let what = format!("adding the route to {}", route.destination);
    messages.push(
        libc::RTM_NEWROUTE,
        ACK | CREATE | REPLACE,
        what,
        &route_header(route),
        |body| {
            route_body(body, route);
            if let Some(mtu) = route.mtu {
                body.nest(libc::RTA_METRICS, |metrics| {
                    metrics.u32(RTAX_MTU, mtu);
                });
            }
        },
    );
}

/// Deletes a route of ours.
pub(crate) fn delete_route(messages: &mut Messages, route: NewRoute) {
    let what = format!("deleting the route to {}", route.destination);
    messages.push(libc::RTM_DELROUTE, ACK, what, &route_header(route), |body| {
        route_body(body, route)
    });
}

fn route_header(route: NewRoute) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = INET;
    header[1] = route.destination.prefix_len();
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = ROUTE_PROTOCOL;
    header[6] = if route.gateway.is_some() || route.link == 0 {
        libc::RT_SCOPE_UNIVERSE
    } else {
        libc::RT_SCOPE_LINK
    };
    header[7] = if route.link == 0 {
        libc::RTN_UNREACHABLE
    } else {
        libc::RTN_UNICAST
    };
    // All gateways of ours are on the link that the route names; a pod's is there by a neighbour entry alone.
    if route.gateway.is_some() {
        header[8..12].copy_from_slice(&ON_LINK.to_ne_bytes());
    }
    header
}

fn route_body(body: &mut Attrs, route: NewRoute) {
    if route.destination.prefix_len() > 0 {
        body.bytes(libc::RTA_DST, &route.destination.network().octets());
    }
    if let Some(gateway) = route.gateway {
        body.bytes(libc::RTA_GATEWAY, &gateway.octets());
    }
    if let Some(source) = route.source {
        body.bytes(libc::RTA_PREFSRC, &source.octets());
    }
    if route.link != 0 {
        body.u32(libc::RTA_OIF, route.link);
    }
}

/// The link of a name, if there is one.
pub(crate) fn find(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    Ok(describe(socket, name)?.and_then(|body| read_link(&body)))
}

/// All that the kernel says about the link of a name: its header and attributes.
pub(crate) fn describe(socket: &mut Socket, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut messages = Messages::default();
    messages.push(libc::RTM_GETLINK, 0, "looking for a link", &link_header(0, 0), |body| {
        body.text(libc::IFLA_IFNAME, name);
    });
    match socket.get(&messages) {
        Ok(message) => Ok(Some(message.body)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The way to an address, and the largest packet that it takes if the route says one; `None` when there is no way.
pub(crate) fn way_to(socket: &mut Socket, address: Ipv4Addr) -> io::Result<Option<(Way, Option<u32>)>> {
    let mut header = [0; 12];
    header[0] = INET;
    header[1] = 32;
    let mut messages = Messages::default();
    messages.push(libc::RTM_GETROUTE, 0, "looking for a route", &header, |body| {
        body.bytes(libc::RTA_DST, &address.octets());
    });
    match socket.get(&messages) {
        Ok(message) => Ok(read_way(&message.body)),
        Err(error) if no_way(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn no_way(error: &io::Error) -> bool {
    let codes = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn read_way(body: &[u8]) -> Option<(Way, Option<u32>)> {
    let (kind, attributes) = (*body.get(7)?, body.get(12..)?);
    let by_router = [libc::RTA_GATEWAY, libc::RTA_VIA]
        .iter()
        .any(|kind| attr(attributes, *kind).is_some());
    let way = match (kind, attr(attributes, libc::RTA_OIF).and_then(number)) {
        (libc::RTN_LOCAL, _) => Way::Own,
        (libc::RTN_UNICAST, Some(link)) if by_router => Way::Router(link),
        (libc::RTN_UNICAST, Some(link)) => Way::Link(link),
        _ => return None,
    };
    Some((way, route_mtu(attributes)))
}

fn route_mtu(attributes: &[u8]) -> Option<u32> {
    attr(attr(attributes, libc::RTA_METRICS)?, RTAX_MTU).and_then(number)
}

/// All links.
pub(crate) fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let found = socket.dump(|messages| {
        messages.push(
            libc::RTM_GETLINK,
            netlink::DUMP,
            "listing links",
            &link_header(0, 0),
            |_| {},
        );
    })?;
    Ok(found.iter().filter_map(|message| read_link(&message.body)).collect())
}

/// All IPv4 routes of the main table that lead somewhere.
pub(crate) fn routes(socket: &mut Socket) -> io::Result<Vec<Route>> {
    let mut header = [0; 12];
    header[0] = INET;
    let found = socket.dump(|messages| {
        messages.push(libc::RTM_GETROUTE, netlink::DUMP, "listing routes", &header, |_| {});
    })?;
    Ok(found.iter().filter_map(|message| read_route(&message.body)).collect())
}

/// All IPv4 addresses.
pub(crate) fn addresses(socket: &mut Socket) -> io::Result<Vec<Address>> {
    let header = [INET, 0, 0, 0, 0, 0, 0, 0];
    let found = socket.dump(|messages| {
        messages.push(libc::RTM_GETADDR, netlink::DUMP, "listing addresses", &header, |_| {});
    })?;
    Ok(found.iter().filter_map(|message| read_address(&message.body)).collect())
}

/// The name in a message about a link.
pub(crate) fn name_of(body: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(attr(body.get(16..)?, libc::IFLA_IFNAME)?);
    Some(name.trim_end_matches('\0').to_owned())
}

fn read_link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(16..)?;
    let name = name_of(body)?;
    let mtu = attr(attributes, libc::IFLA_MTU).and_then(number).unwrap_or(1500);
    Some(Link {
        index: number(body.get(4..8)?)?,
        name,
        mtu,
    })
}

fn read_route(body: &[u8]) -> Option<Route> {
    let (&prefix, &table, &protocol, &kind) = (body.get(1)?, body.get(4)?, body.get(5)?, body.get(7)?);
    if table != libc::RT_TABLE_MAIN || body.first() != Some(&INET) {
        return None;
    }
    let attributes = body.get(12..)?;
    let destination = attr(attributes, libc::RTA_DST)
        .and_then(ipv4)
        .unwrap_or(Ipv4Addr::UNSPECIFIED);
    let link = if kind == libc::RTN_UNICAST {
        attr(attributes, libc::RTA_OIF).and_then(number)
    } else {
        None
    };
    Some(Route {
        destination: Ipv4Net::new(destination, prefix).ok()?,
        link,
        gateway: attr(attributes, libc::RTA_GATEWAY).and_then(ipv4),
        source: attr(attributes, libc::RTA_PREFSRC).and_then(ipv4),
        mtu: route_mtu(attributes),
        protocol,
    })
}

fn read_address(body: &[u8]) -> Option<Address> {
    let attributes = body.get(8..)?;
    let local = attrs(attributes)
        .find(|(kind, _)| *kind == libc::IFA_LOCAL)
        .and_then(|(_, value)| ipv4(value))?;
    Some(Address {
        network: Ipv4Net::new(local, *body.get(1)?).ok()?,
        link: number(body.get(4..8)?)?,
    })
}

pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

pub(crate) fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?))
}
