//! Connections that the kernel remembers. Those that lead to what is gone, or past a service that has come, are
//! forgotten, so that the client's next packet is looked at anew.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::error::Error;
use crate::link;
use crate::netlink::{ACK, DUMP, Messages, Socket, attr};
use crate::services::{Claim, Touched};
use crate::table::Protocol;

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;

/// A remembered connection.
struct Known {
    protocol: u8,
    asked: (Ipv4Addr, u16),
    answers: (Ipv4Addr, u16),
    /// The attributes that name it.
    original: Vec<u8>,
    id: Option<Vec<u8>>,
    zone: Option<Vec<u8>>,
}

/// Forgets UDP connections of the touched services that lead elsewhere than to their endpoints of now.
pub(crate) fn forget(socket: &mut Socket, route: &mut Socket, touched: &Touched) -> Result<(), Error> {
    let known = list(socket)?;
    if known.is_empty() {
        return Ok(());
    }
    let own = link::addresses(route).map_err(|source| Error::kernel("listing addresses", source))?;
    let own: HashSet<Ipv4Addr> = own.iter().map(|address| address.network.addr()).collect();
    for connection in known
        .iter()
        .filter(|connection| leads_astray(connection, touched, &own))
    {
        delete(socket, connection)?;
    }
    Ok(())
}

/// Forgets all connections that lead to addresses whose pods are gone: a client that comes by the same port again would
/// be led there.
pub(crate) fn forget_addresses(socket: &mut Socket, addresses: &HashSet<Ipv4Addr>) -> Result<(), Error> {
    for connection in list(socket)?
        .iter()
        .filter(|connection| addresses.contains(&connection.answers.0))
    {
        delete(socket, connection)?;
    }
    Ok(())
}

fn leads_astray(connection: &Known, touched: &Touched, own: &HashSet<Ipv4Addr>) -> bool {
    if connection.protocol != Protocol::Udp.number() {
        return false;
    }
    let claim = |address| Claim {
        address,
        protocol: Protocol::Udp,
        port: connection.asked.1,
    };
    if let Some(targets) = touched.targets.get(&claim(Some(connection.asked.0))) {
        return !targets.contains(&connection.answers);
    }
    let by_port = touched.targets.get(&claim(None));
    by_port.is_some_and(|targets| own.contains(&connection.asked.0) && !targets.contains(&connection.answers))
}

fn list(socket: &mut Socket) -> Result<Vec<Known>, Error> {
    let found = socket
        .dump(|messages| {
            messages.push(SUBSYSTEM << 8 | GET, DUMP, "listing connections", &HEADER, |_| {});
        })
        .map_err(|source| Error::kernel("listing connections", source))?;
    Ok(found.iter().filter_map(|message| read(&message.body)).collect())
}

fn delete(socket: &mut Socket, connection: &Known) -> Result<(), Error> {
    let mut messages = Messages::default();
    messages.push(
        SUBSYSTEM << 8 | DELETE,
        ACK,
        "forgetting a connection",
        &HEADER,
        |body| {
            body.nest(TUPLE_ORIGINAL, |tuple| {
                tuple.raw(&connection.original);
            });
            if let Some(id) = &connection.id {
                body.bytes(ID, id);
            }
            if let Some(zone) = &connection.zone {
                body.bytes(ZONE, zone);
            }
        },
    );
    match socket.transact(&messages) {
        // It ended by itself meanwhile.
        Err(refused) if refused.source.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(refused) => Err(Error::kernel(refused.what, refused.source)),
        Ok(()) => Ok(()),
    }
}

fn read(body: &[u8]) -> Option<Known> {
    let attributes = body.get(4..)?;
    let original = attr(attributes, TUPLE_ORIGINAL)?;
    let reply = attr(attributes, TUPLE_REPLY)?;
    Some(Known {
        protocol: *attr(attr(original, 2)?, 1)?.first()?,
        asked: (address(original, 2)?, port(original, 3)?),
        answers: (address(reply, 1)?, port(reply, 2)?),
        original: original.to_vec(),
        id: attr(attributes, ID).map(<[u8]>::to_vec),
        zone: attr(attributes, ZONE).map(<[u8]>::to_vec),
    })
}

fn address(tuple: &[u8], kind: u16) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = attr(attr(tuple, 1)?, kind)?.try_into().ok()?;
    Some(Ipv4Addr::from(bytes))
}

fn port(tuple: &[u8], kind: u16) -> Option<u16> {
    Some(u16::from_be_bytes(attr(attr(tuple, 2)?, kind)?.try_into().ok()?))
}
