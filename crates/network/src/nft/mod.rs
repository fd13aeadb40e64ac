//! nf_tables over netlink: rules, sets, chains and atomic batches. It knows the kernel's objects, not what they are for.

mod batch;
mod read;
mod rule;

pub(crate) use batch::{Base, Batch, Element, Map, Set, types};
pub(crate) use read::{Chain, Table, chains, elements, rules, tables};
pub(crate) use rule::{Reg, Rule, Target};

/// The number of nf_tables among the subsystems of netfilter, in the upper byte of each message type.
const SUBSYSTEM: u16 = 10;
/// IPv4.
pub(crate) const FAMILY: u8 = 2;

/// Message types.
mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const GET_TABLE: u16 = 1;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const GET_CHAIN: u16 = 4;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const GET_RULE: u16 = 7;
    pub(super) const DELETE_RULE: u16 = 8;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const NEW_ELEMENT: u16 = 12;
    pub(super) const GET_ELEMENT: u16 = 13;
    pub(super) const DELETE_ELEMENT: u16 = 14;
}

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// The header of each netfilter message.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}
