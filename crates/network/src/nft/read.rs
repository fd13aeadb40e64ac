//! What nf_tables has: tables, chains, rules and elements, as far as this crate asks.

use std::io;

use super::message as m;
use super::{FAMILY, header, kind};
use crate::netlink::{DUMP, Socket, attr, attrs};

/// A table of the IPv4 family.
pub(crate) struct Table {
    pub(crate) name: String,
    /// What its maker noted on it.
    pub(crate) note: Vec<u8>,
}

/// A chain, of any family.
pub(crate) struct Chain {
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// The hook that it hangs on, when it is a base chain.
    pub(crate) hook: Option<u32>,
    /// Packets that come to its end are dropped.
    pub(crate) drops: bool,
}

/// A rule: only its handle and note.
pub(crate) struct FoundRule {
    pub(crate) handle: u64,
    pub(crate) note: Vec<u8>,
}

/// The tables of the IPv4 family.
pub(crate) fn tables(socket: &mut Socket) -> io::Result<Vec<Table>> {
    let found = socket.dump(|messages| {
        messages.push(kind(m::GET_TABLE), DUMP, "listing tables", &header(FAMILY), |_| {});
    })?;
    let read = |body: &[u8]| {
        let attributes = body.get(4..)?;
        Some(Table {
            name: text(attr(attributes, 1)?),
            note: attr(attributes, 6).unwrap_or_default().to_vec(),
        })
    };
    Ok(found.iter().filter_map(|message| read(&message.body)).collect())
}

/// The chains of all tables and families.
pub(crate) fn chains(socket: &mut Socket) -> io::Result<Vec<Chain>> {
    let found = socket.dump(|messages| {
        messages.push(kind(m::GET_CHAIN), DUMP, "listing chains", &header(0), |_| {});
    })?;
    let read = |body: &[u8]| {
        let attributes = body.get(4..)?;
        let hook = attr(attributes, 4).and_then(|hook| attr(hook, 1)).and_then(be32);
        Some(Chain {
            family: *body.first()?,
            table: text(attr(attributes, 1)?),
            name: text(attr(attributes, 3)?),
            hook,
            drops: attr(attributes, 5).and_then(be32) == Some(0),
        })
    };
    Ok(found.iter().filter_map(|message| read(&message.body)).collect())
}

/// The rules of one chain, in order.
pub(crate) fn rules(socket: &mut Socket, family: u8, table: &str, chain: &str) -> io::Result<Vec<FoundRule>> {
    let found = socket.dump(|messages| {
        messages.push(kind(m::GET_RULE), DUMP, "listing rules", &header(family), |body| {
            body.text(1, table).text(2, chain);
        });
    })?;
    let read = |body: &[u8]| {
        let attributes = body.get(4..)?;
        let handle = u64::from_be_bytes(attr(attributes, 3)?.try_into().ok()?);
        Some(FoundRule {
            handle,
            note: attr(attributes, 7).unwrap_or_default().to_vec(),
        })
    };
    Ok(found.iter().filter_map(|message| read(&message.body)).collect())
}

/// Keys and values of a set; a verdict's value is empty.
pub(crate) fn elements(socket: &mut Socket, table: &str, set: &str) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let found = socket.dump(|messages| {
        messages.push(
            kind(m::GET_ELEMENT),
            DUMP,
            "listing elements",
            &header(FAMILY),
            |body| {
                body.text(1, table).text(2, set);
            },
        );
    })?;
    let mut all = Vec::new();
    for message in &found {
        let Some(list) = message.body.get(4..).and_then(|attributes| attr(attributes, 3)) else {
            continue;
        };
        for (_, element) in attrs(list) {
            let value = |kind| attr(element, kind).and_then(|data| attr(data, 1)).map(<[u8]>::to_vec);
            if let Some(key) = value(1) {
                all.push((key, value(2).unwrap_or_default()));
            }
        }
    }
    Ok(all)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}
