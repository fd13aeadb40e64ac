//! What a node's network is told at start, and the names in the kernel that follow from it.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The identity of one instance on a machine: six hex digits that all its names in the kernel carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(String);

/// A slot: one network namespace made ahead of the pod that will use it. The number is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotId(pub u32);

/// Everything the network needs to know about its host and its cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose network this is; part of every name in the kernel.
    pub instance: InstanceId,
    /// Where the ledger of addresses lives; made when it is missing.
    pub state_dir: PathBuf,
    /// Addresses of this node's pods. The first host address becomes the node's own one among its pods.
    pub pod_cidr: Ipv4Net,
    /// Addresses of the pods of all nodes, `pod_cidr` among them. What stays inside keeps its source.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of services.
    pub service_cidr: Ipv4Net,
    /// The largest packet on pod links; without it, what the ways to the other nodes leave, or while there is none that
    /// of the host's default route.
    pub mtu: Option<u32>,
}

impl InstanceId {
    /// Takes an id of one to six lower-case letters and digits; anything else gives `None`.
    pub fn new(id: &str) -> Option<InstanceId> {
        let fits = (1..=6).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| InstanceId(id.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nf_tables table of this instance.
    pub(crate) fn table(&self) -> String {
        format!("{TABLE_PREFIX}{}", self.0)
    }

    /// What the host ends of all pod links of this instance begin with, and no other's do.
    pub(crate) fn link_prefix(&self) -> String {
        format!("g{}p", self.0)
    }

    /// The host end of a slot's link.
    pub(crate) fn link(&self, slot: SlotId) -> String {
        format!("{}{}", self.link_prefix(), base36(slot.0))
    }

    /// The link through which packets to nodes beyond a router go.
    pub(crate) fn tunnel(&self) -> String {
        format!("g{}x", self.0)
    }

    /// The group into which links are put to be deleted together: a number that nobody else is likely to use.
    pub(crate) fn doomed_group(&self) -> u32 {
        1 << 31 | u32::from_str_radix(&self.0, 36).unwrap_or_default()
    }

    /// The slot that a link of this instance belongs to.
    pub(crate) fn slot_of(&self, link: &str) -> Option<SlotId> {
        let digits = link.strip_prefix(&self.link_prefix())?;
        u32::from_str_radix(digits, 36).ok().map(SlotId)
    }
}

/// What the names of all instances' tables begin with.
pub(crate) const TABLE_PREFIX: &str = "gantry-";

impl Config {
    /// The node's own address among its pods: what pods see when the host talks to them.
    pub fn node_address(&self) -> Ipv4Addr {
        node_address(self.pod_cidr)
    }
}

/// The node's own address among its pods, by their range.
pub(crate) fn node_address(pods: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(pods.network()) + 1)
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name in the kernel has at most 15 characters: seven digits of base 36 hold any 32-bit number.
fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = (number % 36) as u8;
        digits.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|&digit| char::from(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_fits_the_kernel_and_leads_back_to_its_slot() {
        let id = InstanceId::new("a1b2c3").unwrap();
        for slot in [0, 1, 35, 36, u32::MAX].map(SlotId) {
            let link = id.link(slot);
            assert!(link.len() <= 15, "{link}");
            assert_eq!(id.slot_of(&link), Some(slot));
        }
        assert_eq!(id.slot_of("eth0"), None);
    }

    #[test]
    fn an_id_that_breaks_names_is_refused() {
        assert_eq!(InstanceId::new(""), None);
        assert_eq!(InstanceId::new("a1b2c3d"), None);
        assert_eq!(InstanceId::new("a/b"), None);
    }
}
