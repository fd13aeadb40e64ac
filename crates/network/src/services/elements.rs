//! Rows in the kernel's terms: in which set, under which key, with which bytes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::plan::{Claim, Delta, Key, Target, Touched, Value};
use crate::layout::{self, Front, set};
use crate::nft::{self, Batch, Element};

/// Writes a change: first what goes, then what comes. Returns how many elements come and go.
pub(super) fn write(batch: &mut Batch, delta: &Delta) -> (usize, usize) {
    let mut gone: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    for (key, value) in &delta.removed {
        for (set, key) in places(*key, *value) {
            gone.entry(set).or_default().push(key);
        }
    }
    let chains: Vec<[String; 2]> = delta.added.iter().map(|(_, value)| chains(*value)).collect();
    let mut come: BTreeMap<&str, Vec<Element<'_>>> = BTreeMap::new();
    for ((key, value), chains) in delta.added.iter().zip(&chains) {
        for ((set, key), place) in places(*key, *value).into_iter().zip(0..) {
            come.entry(set).or_default().push(element(key, *value, chains, place));
        }
    }
    let counts = (come.values().map(Vec::len).sum(), gone.values().map(Vec::len).sum());
    for (set, keys) in gone {
        batch.delete(set, keys);
    }
    for (set, elements) in come {
        batch.add(set, elements);
    }
    counts
}

/// Where a row is kept: one element, or two for a front whose clients are remembered.
fn places(key: Key, value: Value) -> Vec<(&'static str, Vec<u8>)> {
    match key {
        Key::Front { claim, outside } => {
            let verdicts = match (claim.address.is_some(), outside) {
                (true, false) => set::ADDRESSES,
                (true, true) => set::OUTSIDE_ADDRESSES,
                (false, false) => set::PORTS,
                (false, true) => set::OUTSIDE_PORTS,
            };
            let mut places = vec![(verdicts, claim_key(claim))];
            // A front that is something else for the outside has two rows; the one that is always there stands for both.
            if !outside && matches!(value, Value::Pick(pick) if pick.affinity.is_some()) {
                places.push((
                    by_front(claim, set::REMEMBERED, set::REMEMBERED_PORTS),
                    claim_key(claim),
                ));
            }
            places
        }
        Key::Refused(claim) => vec![(by_front(claim, set::REFUSED, set::REFUSED_PORTS), claim_key(claim))],
        Key::Masqueraded(claim) => vec![(
            by_front(claim, set::MASQUERADED, set::MASQUERADED_PORTS),
            claim_key(claim),
        )],
        Key::Endpoint { claim, outside, index } => {
            let front = if claim.address.is_some() {
                Front::Address
            } else {
                Front::Port
            };
            let key = [&claim_key(claim)[..], &index.to_ne_bytes()].concat();
            vec![(layout::endpoints_of(front, outside), key)]
        }
        Key::Hairpin(address) => vec![(set::HAIRPIN, [address.octets(), address.octets()].concat())],
    }
}

/// The chains that a front leads to: for new connections, and when they leave.
fn chains(value: Value) -> [String; 2] {
    match value {
        Value::Pick(pick) => [pick.chain(), pick.remembering().unwrap_or_default()],
        _ => Default::default(),
    }
}

fn element(key: Vec<u8>, value: Value, chains: &[String; 2], place: usize) -> Element<'_> {
    match value {
        Value::Present => Element::Key(key),
        Value::Drop => Element::Verdict(key, nft::Target::Drop),
        Value::Pick(_) if place == 0 => Element::Verdict(key, nft::Target::Goto(&chains[0])),
        Value::Pick(_) => Element::Verdict(key, nft::Target::Jump(&chains[1])),
        Value::Endpoint(target) => Element::Value(key, target_bytes(target)),
    }
}

fn by_front(claim: Claim, address: &'static str, port: &'static str) -> &'static str {
    if claim.address.is_some() { address } else { port }
}

/// The key of a claim: each part padded to four bytes.
fn claim_key(claim: Claim) -> Vec<u8> {
    let mut key = claim
        .address
        .map(|address| address.octets().to_vec())
        .unwrap_or_default();
    key.extend_from_slice(&[claim.protocol.number(), 0, 0, 0]);
    key.extend_from_slice(&claim.port.to_be_bytes());
    key.extend_from_slice(&[0, 0]);
    key
}

fn target_bytes((address, port): Target) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    let [high, low] = port.to_be_bytes();
    vec![a, b, c, d, high, low, 0, 0]
}

/// Whether a remembered client's endpoint is none of its service's any more. `full`: all services are in `touched`.
pub(super) fn is_gone(key: &[u8], value: &[u8], touched: &Touched, full: bool) -> bool {
    let (Some(asked), Ok(target)) = (key.get(4..16), <[u8; 8]>::try_from(value)) else {
        return false;
    };
    let [a, b, c, d, high, low, ..] = target;
    let target = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    let mut found = false;
    for (claim, targets) in &touched.targets {
        let wanted = claim_key(*claim);
        let matches = if claim.address.is_some() {
            asked == wanted
        } else {
            asked[4..] == wanted
        };
        if matches && targets.contains(&target) {
            return false;
        }
        found |= matches;
    }
    found || full
}
