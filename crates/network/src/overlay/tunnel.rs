//! The tunnel: one VXLAN device an instance, with a fixed entry for each far end. It learns nothing from packets.
//!
//! A far end is two entries: a neighbour (its address among its pods is at this hardware address) and a forwarding entry
//! (that hardware address is behind this node). The kernel computes checksums of what it wraps and of the wrapping; none
//! of it is marked or has its addresses changed by us, so that the known traps of doing both to one packet are avoided.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use super::PORT;
use super::plan::mac;
use crate::attach::{self, send};
use crate::error::Error;
use crate::link::{self, Mac};
use crate::netlink::{ACK, CREATE, DUMP, EXCLUSIVE, Messages, REPLACE, Socket, attr};

const VXLAN_ID: u16 = 1;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
/// Forwarding entries are neighbours of this family.
const BRIDGE: u8 = 7;
const INET: u8 = libc::AF_INET as u8;
/// The entry is the device's own, not that of a bridge it might be in.
const OF_DEVICE: u8 = 2;

/// The device that is needed.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) vni: u32,
    /// The address that packets are sent from.
    pub(super) local: Option<Ipv4Addr>,
    pub(super) mac: Mac,
    pub(super) mtu: u32,
}

/// The device that is there.
struct Found {
    index: u32,
    mtu: u32,
    vni: Option<u32>,
    port: Option<u16>,
    local: Option<Ipv4Addr>,
    mac: Option<Vec<u8>>,
}

impl Found {
    fn fits(&self, wanted: &Wanted) -> bool {
        self.vni == Some(wanted.vni)
            && self.port == Some(PORT)
            && self.local == wanted.local
            && self.mac.as_deref() == Some(&wanted.mac)
    }
}

/// Has the device be there and up; returns its index and how much was changed.
pub(super) fn make(socket: &mut Socket, wanted: &Wanted) -> Result<(u32, usize), Error> {
    let mut changes = 0;
    let mut found = find(socket, &wanted.name)?;
    if found.as_ref().is_some_and(|found| !found.fits(wanted)) {
        changes += remove(socket, &wanted.name)?;
        found = None;
    }
    let found = match found {
        Some(found) => found,
        None => {
            let mut messages = Messages::default();
            add(&mut messages, wanted);
            send(socket, &messages).map_err(missing)?;
            let gone = || Error::kernel(format!("the link {}", wanted.name), no_device());
            let found = find(socket, &wanted.name)?.ok_or_else(gone)?;
            let mut messages = Messages::default();
            link::no_ipv6_address(&mut messages, found.index, wanted.mtu);
            // Answers to 127.0.0.1 may come in here, as they may from pods of this node.
            let settings = [(link::setting::SEND_REDIRECTS, 0), (link::setting::ROUTE_LOCALNET, 1)];
            link::set_up(&mut messages, found.index, &settings);
            send(socket, &messages)?;
            changes += 1;
            found
        }
    };
    if found.mtu != wanted.mtu {
        let mut messages = Messages::default();
        link::set_mtu(&mut messages, found.index, wanted.mtu);
        send(socket, &messages)?;
        changes += 1;
    }
    Ok((found.index, changes))
}

fn no_device() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODEV)
}

fn missing(error: Error) -> Error {
    match error {
        Error::Kernel { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP) => Error::KernelFeature {
            feature: "tunnels to nodes beyond a router",
            option: "CONFIG_VXLAN",
            source,
        },
        Error::Kernel { source, .. } if source.raw_os_error() == Some(libc::EADDRINUSE) => Error::Kernel {
            what: format!("UDP port {PORT}, which tunnels between nodes use, is taken by another program"),
            source,
        },
        other => other,
    }
}

/// Removes the device, if it is there.
pub(super) fn remove(socket: &mut Socket, name: &str) -> Result<usize, Error> {
    let Some(found) = attach::find(socket, name)? else {
        return Ok(0);
    };
    let mut messages = Messages::default();
    link::delete(&mut messages, found.index);
    unless_gone(socket, &messages)
}

/// Sends requests to remove what may have gone by itself meanwhile.
pub(super) fn unless_gone(socket: &mut Socket, messages: &Messages) -> Result<usize, Error> {
    match socket.transact(messages) {
        Ok(()) => Ok(1),
        Err(refused)
            if matches!(
                refused.source.raw_os_error(),
                Some(libc::ENODEV | libc::ESRCH | libc::ENOENT)
            ) =>
        {
            Ok(0)
        }
        Err(refused) => Err(Error::kernel(refused.what, refused.source)),
    }
}

/// Has the device know exactly these far ends.
pub(super) fn set_remotes(
    socket: &mut Socket,
    device: u32,
    remotes: &BTreeMap<Ipv4Addr, Ipv4Addr>,
) -> Result<usize, Error> {
    let listing = |source| Error::kernel("listing neighbours", source);
    let neighbours: BTreeMap<Ipv4Addr, Vec<u8>> = entries(socket, INET, device)
        .map_err(listing)?
        .into_iter()
        .filter_map(|entry| Some((entry.destination?, entry.mac)))
        .collect();
    let forwarding: BTreeMap<Vec<u8>, Ipv4Addr> = entries(socket, BRIDGE, device)
        .map_err(listing)?
        .into_iter()
        .filter_map(|entry| Some((entry.mac, entry.destination?)))
        .collect();
    let mut changes = 0;
    for (far, node) in remotes {
        let mac = mac(*far);
        let mut messages = Messages::default();
        if forwarding.get(mac.as_slice()) != Some(node) {
            forward(&mut messages, device, mac, *node);
        }
        if neighbours.get(far).map(Vec::as_slice) != Some(&mac) {
            link::add_neighbour(&mut messages, device, *far, mac);
        }
        if !messages.as_slice().is_empty() {
            send(socket, &messages)?;
            changes += 1;
        }
    }
    for far in neighbours.keys().filter(|far| !remotes.contains_key(far)) {
        let mut messages = Messages::default();
        delete_entry(&mut messages, INET, device, |body| {
            body.bytes(libc::NDA_DST, &far.octets());
        });
        changes += unless_gone(socket, &messages)?;
    }
    let wanted: Vec<Mac> = remotes.keys().map(|far| mac(*far)).collect();
    for (mac, node) in forwarding
        .iter()
        .filter(|(mac, _)| !wanted.iter().any(|wanted| wanted.as_slice() == mac.as_slice()))
    {
        let mut messages = Messages::default();
        delete_entry(&mut messages, BRIDGE, device, |body| {
            body.bytes(libc::NDA_LLADDR, mac).bytes(libc::NDA_DST, &node.octets());
        });
        changes += unless_gone(socket, &messages)?;
    }
    Ok(changes)
}

fn add(messages: &mut Messages, wanted: &Wanted) {
    let what = format!("making the tunnel {}", wanted.name);
    let header = link::link_header(0, 0);
    messages.push(libc::RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, what, &header, |body| {
        body.text(libc::IFLA_IFNAME, &wanted.name)
            .u32(libc::IFLA_MTU, wanted.mtu)
            .bytes(libc::IFLA_ADDRESS, &wanted.mac);
        body.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "vxlan")
                .nest(libc::IFLA_INFO_DATA, |data| {
                    data.u32(VXLAN_ID, wanted.vni)
                        .bytes(VXLAN_LEARNING, &[0])
                        .bytes(VXLAN_PORT, &PORT.to_be_bytes());
                    if let Some(local) = wanted.local {
                        data.bytes(VXLAN_LOCAL, &local.octets());
                    }
                });
        });
    });
}

fn find(socket: &mut Socket, name: &str) -> Result<Option<Found>, Error> {
    let found = link::describe(socket, name);
    let found = found.map_err(|source| Error::kernel(format!("looking for the tunnel {name}"), source))?;
    Ok(found.and_then(|body| read(&body)))
}

fn read(body: &[u8]) -> Option<Found> {
    let attributes = body.get(16..)?;
    let data = attr(attributes, libc::IFLA_LINKINFO).and_then(|info| attr(info, libc::IFLA_INFO_DATA));
    let of_tunnel = |kind| data.and_then(|data| attr(data, kind));
    Some(Found {
        index: link::number(body.get(4..8)?)?,
        mtu: attr(attributes, libc::IFLA_MTU).and_then(link::number)?,
        vni: of_tunnel(VXLAN_ID).and_then(link::number),
        port: of_tunnel(VXLAN_PORT).and_then(|port| Some(u16::from_be_bytes(port.try_into().ok()?))),
        local: of_tunnel(VXLAN_LOCAL).and_then(link::ipv4),
        mac: attr(attributes, libc::IFLA_ADDRESS).map(<[u8]>::to_vec),
    })
}

/// An entry of the device's tables.
struct Entry {
    mac: Vec<u8>,
    destination: Option<Ipv4Addr>,
}

fn entries(socket: &mut Socket, family: u8, device: u32) -> io::Result<Vec<Entry>> {
    let found = socket.dump(|messages| {
        messages.push(
            libc::RTM_GETNEIGH,
            DUMP,
            "listing neighbours",
            &entry_header(family, 0, 0, 0),
            |_| {},
        );
    })?;
    let read = |body: &[u8]| {
        let attributes = body.get(12..)?;
        let ours = body.first() == Some(&family) && link::number(body.get(4..8)?)? == device;
        let permanent = u16::from_ne_bytes(body.get(8..10)?.try_into().ok()?) & libc::NUD_PERMANENT != 0;
        (ours && permanent).then(|| Entry {
            mac: attr(attributes, libc::NDA_LLADDR).unwrap_or_default().to_vec(),
            destination: attr(attributes, libc::NDA_DST).and_then(link::ipv4),
        })
    };
    Ok(found.iter().filter_map(|message| read(&message.body)).collect())
}

fn entry_header(family: u8, device: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family;
    header[4..8].copy_from_slice(&device.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header[10] = flags;
    header
}

fn forward(messages: &mut Messages, device: u32, mac: Mac, node: Ipv4Addr) {
    let header = entry_header(BRIDGE, device, libc::NUD_PERMANENT | libc::NUD_NOARP, OF_DEVICE);
    let what = format!("leading the tunnel to {node}");
    messages.push(libc::RTM_NEWNEIGH, ACK | CREATE | REPLACE, what, &header, |body| {
        body.bytes(libc::NDA_LLADDR, &mac).bytes(libc::NDA_DST, &node.octets());
    });
}

fn delete_entry(messages: &mut Messages, family: u8, device: u32, body: impl FnOnce(&mut crate::netlink::Attrs)) {
    let flags = if family == BRIDGE { OF_DEVICE } else { 0 };
    let header = entry_header(family, device, 0, flags);
    messages.push(libc::RTM_DELNEIGH, ACK, "deleting a neighbour", &header, body);
}
