//! What the host itself needs for pods and services, made once and removed at the end: forwarding, the node's own
//! address among its pods, the route of the service range, and the way to other nodes for what begins on 127.0.0.1.
//! Before anything is changed it is checked that it can work.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::attach::{send, single};
use crate::config::{Config, TABLE_PREFIX, node_address};
use crate::error::Error;
use crate::layout;
use crate::link::{self, NewRoute, ROUTE_PROTOCOL};
use crate::netlink::{Messages, Socket};
use crate::nft;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Whether the host's links may carry what comes from or goes to 127.0.0.0/8.
const LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";
/// Whether conntrack takes packets that it can't place in a connection's windows for valid.
const LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";
const LOOPBACK: u32 = 1;
const DEFAULT_MTU: u32 = 1500;

/// What an instance notes on its table: enough for others to keep clear of it, and to clean up after it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Note {
    pub(crate) layout: u32,
    pub(crate) pods: Ipv4Net,
    pub(crate) services: Ipv4Net,
    /// The pods of all nodes.
    pub(crate) cluster: Ipv4Net,
    pub(crate) state_dir: PathBuf,
    /// Forwarding was off before the first instance came: the last one that goes turns it off.
    pub(crate) forwarding_was_off: bool,
    /// The same of `route_localnet`, which an instance turns on when it has a neighbour.
    pub(crate) localnet_was_off: bool,
    /// The same of conntrack's `tcp_be_liberal`, which an instance turns on for its short cut between pods.
    pub(crate) liberal_was_off: bool,
}

/// A table of an instance, this one or another.
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) note: Option<Note>,
}

impl Note {
    /// As bytes: one word a line.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let Note {
            layout,
            pods,
            services,
            cluster,
            state_dir,
            forwarding_was_off,
            localnet_was_off,
            liberal_was_off,
        } = self;
        format!(
            "{layout}\n{pods}\n{services}\n{cluster}\n{}\n{}\n{}\n{}",
            u8::from(*forwarding_was_off),
            u8::from(*localnet_was_off),
            u8::from(*liberal_was_off),
            state_dir.display()
        )
        .into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Note> {
        let text = std::str::from_utf8(bytes).ok()?;
        let layout: u32 = text.split('\n').next()?.parse().ok()?;
        // The first layout knew of one node only, the second left the way of 127.0.0.1 alone, the third conntrack.
        let mut lines = text.splitn(4 + layout.min(4) as usize, '\n').skip(1);
        let pods = lines.next()?.parse().ok()?;
        Some(Note {
            layout,
            pods,
            services: lines.next()?.parse().ok()?,
            cluster: if layout == 1 { pods } else { lines.next()?.parse().ok()? },
            forwarding_was_off: lines.next()? == "1",
            localnet_was_off: layout > 2 && lines.next()? == "1",
            liberal_was_off: layout > 3 && lines.next()? == "1",
            state_dir: PathBuf::from(lines.next()?),
        })
    }
}

/// The instances on this host.
pub(crate) fn instances(netfilter: &mut Socket) -> Result<Vec<Instance>, Error> {
    let tables = nft::tables(netfilter).map_err(|source| missing_nftables("listing nf_tables", source))?;
    let read = |table: nft::Table| {
        let id = table.name.strip_prefix(TABLE_PREFIX)?.to_owned();
        Some(Instance {
            id,
            note: Note::from_bytes(&table.note),
        })
    };
    Ok(tables.into_iter().filter_map(read).collect())
}

/// Tells the absence of nf_tables from other refusals.
pub(crate) fn missing_nftables(what: &str, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EINVAL) if what.starts_with("listing") => {
            Error::KernelFeature {
                feature: "nf_tables",
                option: "CONFIG_NF_TABLES",
                source,
            }
        }
        _ => Error::kernel(what, source),
    }
}

/// Refuses ranges that overlap anything of this host, but for the instance's own address, or of another instance. `pods`
/// are those of all nodes.
pub(crate) fn check_ranges(
    pods: Ipv4Net,
    services: Ipv4Net,
    own: Option<Ipv4Addr>,
    route: &mut Socket,
    others: &[&Instance],
) -> Result<(), Error> {
    let ranges = [(pods, "--pod-cidr", 29), (services, "--service-cidr", 31)];
    if overlap(pods, services) {
        return Err(Error::OwnRanges { pods, services });
    }
    if let Some((range, ..)) = ranges.iter().find(|(range, _, longest)| range.prefix_len() > *longest) {
        return Err(Error::SmallRange(*range));
    }
    let listing = |what: &'static str| move |source| Error::kernel(what, source);
    let links = link::links(route).map_err(listing("listing links"))?;
    let name = |index| {
        links
            .iter()
            .find(|link| link.index == index)
            .map_or("?", |link| link.name.as_str())
    };
    let routes = link::routes(route).map_err(listing("listing routes"))?;
    let addresses = link::addresses(route).map_err(listing("listing addresses"))?;
    for (range, flag, _) in ranges {
        for (other, note) in others.iter().filter_map(|other| Some((other, other.note.as_ref()?))) {
            if let Some(with) = [note.cluster, note.services]
                .into_iter()
                .find(|with| overlap(*with, range))
            {
                let other = format!("{} ({})", other.id, note.state_dir.display());
                return Err(Error::InstanceOverlap {
                    range,
                    with,
                    other,
                    flag,
                });
            }
        }
        let foreign = routes
            .iter()
            .filter(|route| route.protocol != ROUTE_PROTOCOL && route.destination.prefix_len() > 0);
        if let Some(found) = foreign.clone().find(|route| overlap(route.destination, range)) {
            let with = format!(
                "the route {} ({})",
                found.destination,
                found.link.map_or("no link", name)
            );
            return Err(Error::HostOverlap { range, with, flag });
        }
        let is_own = |address: &&link::Address| address.link == LOOPBACK && own.map(single) == Some(address.network);
        if let Some(found) = addresses
            .iter()
            .filter(|address| !is_own(address))
            .find(|address| overlap(address.network, range))
        {
            let with = format!("the address {} of {}", found.network, name(found.link));
            return Err(Error::HostOverlap { range, with, flag });
        }
    }
    Ok(())
}

/// Refuses a range of the node's own that can't be one.
pub(crate) fn check_own_range(config: &Config) -> Result<(), Error> {
    if !config.cluster_cidr.contains(&config.pod_cidr) {
        return Err(Error::ForeignPods {
            pods: config.pod_cidr,
            cluster: config.cluster_cidr,
        });
    }
    if config.pod_cidr.prefix_len() > 29 {
        return Err(Error::SmallRange(config.pod_cidr));
    }
    Ok(())
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// The largest packet of the link with the host's default route.
pub(crate) fn default_mtu(route: &mut Socket) -> Result<u32, Error> {
    let routes = link::routes(route).map_err(|source| Error::kernel("listing routes", source))?;
    let default = routes
        .iter()
        .find(|route| route.destination.prefix_len() == 0)
        .and_then(|route| route.link);
    let links = link::links(route).map_err(|source| Error::kernel("listing links", source))?;
    Ok(links
        .iter()
        .find(|link| Some(link.index) == default)
        .map_or(DEFAULT_MTU, |link| link.mtu))
}

/// The note for this instance's table. Who finds forwarding on inherits why from the instances that are there.
pub(crate) fn note(config: &Config, instances: &[Instance]) -> Result<Note, Error> {
    let inherited = |off: fn(&Note) -> bool| instances.iter().filter_map(|found| found.note.as_ref()).any(off);
    Ok(Note {
        layout: layout::VERSION,
        pods: config.pod_cidr,
        cluster: config.cluster_cidr,
        services: config.service_cidr,
        state_dir: PathBuf::from(shortened(&config.state_dir)),
        forwarding_was_off: read(FORWARDING)? == "0" || inherited(|note| note.forwarding_was_off),
        localnet_was_off: read(LOCALNET)? == "0" || inherited(|note| note.localnet_was_off),
        // It isn't there before the first rule that looks at connections.
        liberal_was_off: read(LIBERAL).ok().is_none_or(|is| is == "0") || inherited(|note| note.liberal_was_off),
    })
}

/// A note has room for 256 bytes; the path is there for people only.
fn shortened(path: &Path) -> String {
    path.display()
        .to_string()
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= 180).then_some(c)
        })
        .collect()
}

fn read(setting: &str) -> Result<String, Error> {
    let text = fs::read_to_string(setting).map_err(|source| Error::file(setting, source))?;
    Ok(text.trim().to_owned())
}

/// Sets the host up; what is there already stays.
pub(crate) fn set_up(config: &Config, route: &mut Socket, mtu: u32) -> Result<(), Error> {
    turn_on(FORWARDING)?;
    let mut messages = Messages::default();
    // The loopback link of a fresh namespace is down, which is of interest to tests only.
    link::set_up(&mut messages, LOOPBACK, &[]);
    link::add_address(&mut messages, LOOPBACK, single(config.node_address()));
    link::add_route(&mut messages, service_route(config, mtu));
    link::add_route(&mut messages, nowhere(config.cluster_cidr));
    send(route, &messages)
}

/// Has the host's own connections to services use packets that also fit the ways to other nodes.
pub(crate) fn set_service_mtu(config: &Config, route: &mut Socket, mtu: u32) -> Result<(), Error> {
    let mut messages = Messages::default();
    link::add_route(&mut messages, service_route(config, mtu));
    send(route, &messages)
}

/// Lets connections of the host's own to a node port of 127.0.0.1 go on to a pod of a neighbour: they leave by one of
/// the host's links, and their answers come back by one. Rules of the table keep all else off this way.
pub(crate) fn open_localnet() -> Result<(), Error> {
    turn_on(LOCALNET)
}

/// Has conntrack see the end of connections whose data it doesn't see. Else it would take each end for a packet out of
/// order, and keep the connection for days.
pub(crate) fn be_liberal() -> Result<(), Error> {
    turn_on(LIBERAL)
}

fn turn_on(setting: &str) -> Result<(), Error> {
    match read(setting)?.as_str() {
        "1" => Ok(()),
        _ => write(setting, "1"),
    }
}

fn write(setting: &str, value: &str) -> Result<(), Error> {
    fs::write(setting, value).map_err(|source| Error::file(Path::new(setting), source))
}

/// Packets to services must have a way, or the host's own connections would fail for want of a route before any rule
/// saw them. Nothing takes this one: the destination is changed, or the packet refused.
fn service_route(config: &Config, mtu: u32) -> NewRoute {
    NewRoute {
        source: Some(config.node_address()),
        mtu: Some(mtu),
        ..NewRoute::to(config.service_cidr, LOOPBACK)
    }
}

/// Packets to a pod that isn't there must not leave by the default route; who sent them is told.
fn nowhere(pods: Ipv4Net) -> NewRoute {
    NewRoute::to(pods, 0)
}

/// Removes what `set_up` made. Goes on after an error and returns all of them.
pub(crate) fn tear_down(note: &Note, is_last: bool, route: &mut Socket) -> Vec<Error> {
    let mut errors = Vec::new();
    let address = single(node_address(note.pods));
    let mut requests = vec![Messages::default(), Messages::default()];
    link::delete_route(&mut requests[0], NewRoute::to(note.services, LOOPBACK));
    link::delete_address(&mut requests[1], LOOPBACK, address);
    match link::routes(route) {
        Ok(routes) => requests.extend(
            routes
                .iter()
                .filter(|found| found.is_within(note.cluster))
                .map(|found| {
                    let mut messages = Messages::default();
                    link::delete_route(&mut messages, found.as_new());
                    messages
                }),
        ),
        Err(source) => errors.push(Error::kernel("listing routes", source)),
    }
    for messages in requests {
        match route.transact(&messages) {
            Err(refused) if !gone(&refused.source) => errors.push(Error::kernel(refused.what, refused.source)),
            _ => {}
        }
    }
    let settings = [
        (FORWARDING, note.forwarding_was_off),
        (LOCALNET, note.localnet_was_off),
        (LIBERAL, note.liberal_was_off),
    ];
    for (setting, was_off) in settings {
        if is_last && was_off && Path::new(setting).exists() {
            errors.extend(write(setting, "0").err());
        }
    }
    errors
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENOENT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_written() {
        let note = Note {
            layout: 4,
            pods: "10.42.0.0/24".parse().unwrap(),
            services: "10.96.0.0/16".parse().unwrap(),
            cluster: "10.42.0.0/16".parse().unwrap(),
            state_dir: PathBuf::from("/var/lib/x y"),
            forwarding_was_off: true,
            localnet_was_off: true,
            liberal_was_off: true,
        };
        assert_eq!(Note::from_bytes(&note.to_bytes()), Some(note));
        assert_eq!(Note::from_bytes(b"anything"), None);
        let first = Note::from_bytes(b"1\n10.42.0.0/24\n10.96.0.0/16\n1\n/var/lib/x").unwrap();
        assert_eq!(
            (first.cluster, first.state_dir),
            (first.pods, PathBuf::from("/var/lib/x"))
        );
        let second = Note::from_bytes(b"2\n10.42.0.0/24\n10.96.0.0/16\n10.42.0.0/16\n1\n/var/lib/x").unwrap();
        assert_eq!(
            (second.localnet_was_off, second.state_dir),
            (false, PathBuf::from("/var/lib/x"))
        );
        let third = Note::from_bytes(b"3\n10.42.0.0/24\n10.96.0.0/16\n10.42.0.0/16\n1\n1\n/var/lib/x").unwrap();
        assert_eq!(
            (third.localnet_was_off, third.liberal_was_off, third.state_dir),
            (true, false, PathBuf::from("/var/lib/x"))
        );
    }
}
