//! Other nodes' pods: a route for each node, through a tunnel (VXLAN) where a router is between.
//!
//! What the kernel has is read each time and only the difference is changed, so that a start, a change of a node and a
//! change of the host's own routes are the same thing. `plan` decides, `tunnel` is the device and its tables, and this
//! file puts them together. Never in here: where the list of nodes comes from.

mod plan;
mod tunnel;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

pub use plan::{Peer, Trouble, Unreached};

use crate::attach::send;
use crate::config::Config;
use crate::error::Error;
use crate::host;
use crate::layout;
use crate::link::{self, NewRoute, Route};
use crate::netlink::{Messages, Socket};
use crate::nft::{Batch, Element};
use plan::{Known, Plan, Via};

/// The UDP port of the tunnel. All nodes have the same one, for the sake of firewalls; it is none that other programs'
/// tunnels use, since one with other settings could not share it.
pub(crate) const PORT: u16 = 8473;

/// How the other nodes' pods are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Nodes on a common link.
    pub direct: usize,
    /// Nodes beyond a router.
    pub tunnelled: usize,
    /// Nodes whose pods can't be reached now.
    pub unreached: Vec<Unreached>,
    /// The largest packet that all ways take; `None` without any.
    pub mtu: Option<u32>,
    /// Requests that the kernel was sent because something was not as it should be.
    pub changes: usize,
}

/// The tunnel's number: what the ranges of pods begin with. Two instances of one host have no address in common, so
/// they don't have this in common either, and all nodes of a cluster know it.
pub(crate) fn vni(cluster: Ipv4Net) -> u32 {
    u32::from(cluster.network()) >> 8
}

/// Makes the kernel reach exactly these nodes' pods.
pub(crate) fn set_peers(
    config: &Config,
    route: &mut Socket,
    netfilter: &mut Socket,
    own: IpAddr,
    peers: &[Peer],
) -> Result<Reached, Error> {
    let known = look(route, peers)?;
    let plan = plan::plan(config, &known, peers);
    let mut changes = allow_peers(config, netfilter, &plan)?;
    let device = match plan.tunnel_mtu {
        Some(mtu) => {
            let (device, made) = tunnel::make(route, &wanted_tunnel(config, own, mtu))?;
            changes += made;
            changes += tunnel::set_remotes(route, device, &plan.remotes)?;
            Some(device)
        }
        None => None,
    };
    changes += set_routes(config, route, &plan, device)?;
    let direct = plan.routes.iter().filter(|route| route.via != Via::Tunnel).count();
    if direct > 0 {
        host::open_localnet()?;
    }
    if device.is_none() {
        changes += tunnel::remove(route, &config.instance.tunnel())?;
    }
    Ok(Reached {
        direct,
        tunnelled: plan.remotes.len(),
        mtu: plan.mtu,
        unreached: plan.unreached,
        changes,
    })
}

fn wanted_tunnel(config: &Config, own: IpAddr, mtu: u32) -> tunnel::Wanted {
    let own = if let IpAddr::V4(own) = own { Some(own) } else { None };
    tunnel::Wanted {
        name: config.instance.tunnel(),
        vni: vni(config.cluster_cidr),
        // An address that this host doesn't have (that of a router in front of it) can't be sent from.
        local: own.filter(|own| !own.is_loopback() && !own.is_unspecified()),
        mac: plan::mac(config.node_address()),
        mtu,
    }
}

/// Asks the kernel for its way to each node.
fn look(route: &mut Socket, peers: &[Peer]) -> Result<Known, Error> {
    let mut known = Known::default();
    for peer in peers {
        let IpAddr::V4(address) = peer.address else { continue };
        let way = link::way_to(route, address)
            .map_err(|source| Error::kernel(format!("asking for the way to {address}"), source))?;
        if let Some(way) = way {
            known.ways.insert(address, way);
        }
    }
    let links = link::links(route).map_err(|source| Error::kernel("listing links", source))?;
    known.mtus = links.iter().map(|link| (link.index, link.mtu)).collect();
    Ok(known)
}

/// Has the routes of other nodes' pods be those of the plan.
fn set_routes(config: &Config, socket: &mut Socket, plan: &Plan, device: Option<u32>) -> Result<usize, Error> {
    let wanted: HashMap<Ipv4Net, NewRoute> = plan
        .routes
        .iter()
        .filter_map(|route| {
            let link = match route.via {
                Via::Link(link) => link,
                Via::Tunnel => device?,
            };
            let route = NewRoute {
                gateway: Some(route.gateway),
                source: Some(config.node_address()),
                mtu: Some(route.mtu),
                ..NewRoute::to(route.destination, link)
            };
            Some((route.destination, route))
        })
        .collect();
    let found = link::routes(socket).map_err(|source| Error::kernel("listing routes", source))?;
    let of_peers = |route: &&Route| {
        let own = config.pod_cidr.contains(&route.destination) || route.destination == config.cluster_cidr;
        route.is_within(config.cluster_cidr) && !own
    };
    let found: Vec<NewRoute> = found.iter().filter(of_peers).map(Route::as_new).collect();
    let mut changes = 0;
    for route in wanted.values().filter(|route| !found.contains(route)) {
        let mut messages = Messages::default();
        link::add_route(&mut messages, *route);
        send(socket, &messages)?;
        changes += 1;
    }
    for route in found.iter().filter(|route| !wanted.contains_key(&route.destination)) {
        let mut messages = Messages::default();
        link::delete_route(&mut messages, *route);
        changes += tunnel::unless_gone(socket, &messages)?;
    }
    Ok(changes)
}

/// Lets in what comes by the tunnel from these nodes, and nobody else's.
fn allow_peers(config: &Config, netfilter: &mut Socket, plan: &Plan) -> Result<usize, Error> {
    let (table, set) = (config.instance.table(), layout::set::TUNNEL_PEERS);
    let wanted: BTreeSet<Ipv4Addr> = plan.senders.clone();
    let found = crate::nft::elements(netfilter, &table, set)
        .map_err(|source| Error::kernel(format!("listing the set {set}"), source))?;
    let found: BTreeSet<Ipv4Addr> = found.iter().filter_map(|(key, _)| link::ipv4(key)).collect();
    let key = |address: &Ipv4Addr| address.octets().to_vec();
    let come: Vec<_> = wanted.difference(&found).map(key).collect();
    let gone: Vec<_> = found.difference(&wanted).map(key).collect();
    let changes = come.len() + gone.len();
    if changes > 0 {
        let mut batch = Batch::new(&table);
        batch.delete(set, gone);
        batch.add(set, come.into_iter().map(Element::Key));
        batch
            .commit(netfilter)
            .map_err(|refused| Error::kernel(refused.what, refused.source))?;
    }
    Ok(changes)
}
