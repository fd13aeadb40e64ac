//! Links to further nodes on the same host, each in a network namespace of its own, for trying several nodes out. To the
//! host such a node is a machine behind a router: an address, a route to it, and a changed source where it leaves.
//!
//! It is apart from an instance's network: neither needs the other, and each is removed alone.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;

use crate::attach::{self, Plan};
use crate::config::InstanceId;
use crate::error::Error;
use crate::host;
use crate::layout;
use crate::link::{self, NewRoute};
use crate::netlink::{Messages, Socket};
use crate::nft::{Base, Batch, Rule, Target};

/// The loopback's index in every namespace.
const LOOPBACK: u32 = 1;
const HOOK_PREROUTING: u32 = 0;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_RAW: i32 = -300;
/// After the instances' own chains: the first that changes a source ends it for the others, and theirs also note to whom a
/// client of a service with affinity was led.
const PRIORITY_AFTER_SOURCE: i32 = 101;
const RAW: &str = "nodes-raw-prerouting";
const CHAIN: &str = "nodes-postrouting";

/// The nodes' network: their addresses, and the host's among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lab {
    network: Ipv4Net,
}

impl Lab {
    /// Out of the networks for tests between machines (RFC 2544), which are never routed: one for each instance.
    pub fn of(instance: &InstanceId) -> Lab {
        let digits = u32::from_str_radix(instance.as_str(), 36).unwrap_or_default();
        let network = Ipv4Addr::new(198, 19, (digits % 251) as u8, 0);
        Lab {
            network: Ipv4Net::new_assert(network, 24),
        }
    }

    /// The address of a node by its number, which begins with 1.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()) + u32::from(number))
    }

    /// The host's own address among the nodes.
    fn host(&self) -> Ipv4Addr {
        self.address(254)
    }
}

/// Makes the link to a node in a namespace, and what the host needs for it; leaves a link that is there.
pub fn plug(instance: &InstanceId, number: u8, namespace: &Path) -> Result<(), Error> {
    let lab = Lab::of(instance);
    let mut route = open(libc::NETLINK_ROUTE)?;
    let name = link_name(instance, number);
    if attach::find(&mut route, &name)?.is_some() {
        return Ok(());
    }
    let mut messages = Messages::default();
    link::add_address(&mut messages, LOOPBACK, attach::single(lab.host()));
    attach::send(&mut route, &messages)?;
    rules(instance, lab)?;
    let plan = Plan {
        link: &name,
        address: lab.address(number),
        node_address: lab.host(),
        namespace,
        mtu: host::default_mtu(&mut route)?,
    };
    attach::make(&mut route, &plan)?;
    behind_a_router(&mut route, &plan)
}

/// The node sees a router on its way to everybody, so the host must see one on its way to the node: else the one would
/// send through the tunnel and the other past it, and each would drop what it gets.
fn behind_a_router(host: &mut Socket, plan: &Plan<'_>) -> Result<(), Error> {
    let Some(found) = attach::find(host, plan.link)? else {
        return Ok(());
    };
    let way = NewRoute {
        gateway: Some(plan.address),
        source: Some(plan.node_address),
        ..NewRoute::to(attach::single(plan.address), found.index)
    };
    let mut messages = Messages::default();
    link::add_route(&mut messages, way);
    attach::send(host, &messages)
}

/// Removes the links to all nodes and what the host had for them. It goes on after an error and returns all of them.
pub fn unplug_all(instance: &InstanceId) -> Vec<Error> {
    let (mut route, mut netfilter) = match (open(libc::NETLINK_ROUTE), open(libc::NETLINK_NETFILTER)) {
        (Ok(route), Ok(netfilter)) => (route, netfilter),
        (route, netfilter) => return [route.err(), netfilter.err()].into_iter().flatten().collect(),
    };
    let mut errors = Vec::new();
    let prefix = link_prefix(instance);
    match link::links(&mut route) {
        Ok(links) => {
            let own = links.iter().filter(|link| link.name.starts_with(&prefix));
            let indexes: Vec<u32> = own.map(|link| link.index).collect();
            errors.extend(attach::delete(&mut route, &indexes, instance.doomed_group()).err());
        }
        Err(source) => errors.push(Error::kernel("listing links", source)),
    }
    let mut messages = Messages::default();
    link::delete_address(&mut messages, LOOPBACK, attach::single(Lab::of(instance).host()));
    let mut gone = |result: Result<(), crate::netlink::Refused>| {
        let absent = [Some(libc::EADDRNOTAVAIL), Some(libc::ENOENT)];
        if let Err(refused) = result
            && !absent.contains(&refused.source.raw_os_error())
        {
            errors.push(Error::kernel(refused.what, refused.source));
        }
    };
    gone(route.transact(&messages));
    let mut batch = Batch::new(&table(instance));
    batch.delete_table();
    gone(batch.commit(&mut netfilter));
    errors
}

/// What nodes send to other machines leaves with the host's address. Their links let answers to 127.0.0.1 in, and
/// nothing else may come by that door.
fn rules(instance: &InstanceId, lab: Lab) -> Result<(), Error> {
    let mut netfilter = open(libc::NETLINK_NETFILTER)?;
    let mut batch = Batch::new(&table(instance));
    // Made, deleted and made: so that there is one rule, however often this is done.
    batch.table(b"");
    batch.delete_table();
    batch.table(b"");
    let base = |kind, hook, priority| Some(Base { kind, hook, priority });
    batch.chain(RAW, base("filter", HOOK_PREROUTING, PRIORITY_RAW));
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let from_nodes = Rule::default().input_prefix(&link_prefix(instance));
    batch.rule(RAW, &from_nodes.to(loopback, false).then(Target::Drop));
    batch.chain(CHAIN, base("nat", HOOK_POSTROUTING, PRIORITY_AFTER_SOURCE));
    let leaving = Rule::default().from(lab.network, false).to(lab.network, true);
    batch.rule(CHAIN, &leaving.masquerade());
    let committed = batch.commit(&mut netfilter);
    committed.map_err(|refused| layout::missing_feature(&refused.what, refused.source))
}

/// Not with the prefix of instances' tables, which have a note.
fn table(instance: &InstanceId) -> String {
    format!("nodes-of-gantry-{instance}")
}

/// What the links to all nodes begin with; links to pods begin otherwise.
fn link_prefix(instance: &InstanceId) -> String {
    format!("g{instance}n")
}

fn link_name(instance: &InstanceId, number: u8) -> String {
    format!("{}{number}", link_prefix(instance))
}

fn open(protocol: libc::c_int) -> Result<Socket, Error> {
    let failed = |source: io::Error| Error::kernel("opening a netlink socket", source);
    Socket::open(protocol).map_err(failed)
}
