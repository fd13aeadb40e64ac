//! A short cut for TCP between two pods of this node: what belongs to a connection whose handshake went through the host's
//! network stack is given from the one pod's link straight to the other pod, by a BPF program (see `program`).
//!
//! It is an addition that may be absent. Without it, or when it knows nothing of a connection, packets take the way
//! through the stack, where all rules are. Never in here: a rule.
//!
//! The programs hang on the links by traffic control's `clsact` and go with them; a process that opens the network puts its
//! own in the place of those that it finds. Attaching them by a BPF link would tie them to the process, but the kernel takes
//! ten milliseconds for each, during which no other link can be changed, and another ten when the link is deleted.

mod assembler;
mod bpf;
mod program;

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::host;
use crate::netlink::{ACK, CREATE, Messages, Refused, Socket};
use bpf::{Kind, Map};
#[cfg(test)]
pub(crate) use program::State;

/// Directions of connections that are remembered, two each. What is beyond takes the way through the stack.
const FLOWS: u32 = 32 * 1024;
/// More pods than a node has; memory is taken for those that there are.
const PODS: u32 = 16 * 1024;

/// The handle of `clsact`, and the place where a link has it.
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;
const ENTERING: u32 = 0xffff_fff2;
const LEAVING: u32 = 0xffff_fff3;
const ETHERTYPE_IPV4: u16 = 0x0800;

// Attributes of queueing disciplines and filters, and of the filter that is a BPF program.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// What the program returns is what is done.
const DIRECT: u32 = 1;

/// The programs and what they know.
pub(crate) struct FastPath {
    pods: Map,
    /// Only the programs write to it.
    #[cfg_attr(not(test), expect(dead_code, reason = "it lives as long as the programs"))]
    flows: Map,
    entering: OwnedFd,
    leaving: OwnedFd,
    /// The kernel can't hang them on links: it isn't asked again.
    refused: AtomicBool,
}

/// The short cut, where this kernel has what it is made of.
pub(crate) fn available() -> Option<FastPath> {
    match FastPath::new().and_then(|fast| host::be_liberal().map(|()| fast)) {
        Ok(fast) => Some(fast),
        Err(error) => {
            absent(&error);
            None
        }
    }
}

fn absent(error: &Error) {
    let error = error as &dyn std::error::Error;
    tracing::info!(
        error,
        "no short cut between the pods of this node: their packets go through the host's stack"
    );
}

impl FastPath {
    /// Makes the programs. They do nothing yet.
    fn new() -> Result<FastPath, Error> {
        let pods = Map::new(Kind::Hash, "gantry_pods", program::PODS, PODS)?;
        let flows = Map::new(Kind::Recent, "gantry_flows", program::FLOWS, FLOWS)?;
        let entering = bpf::load("gantry_entering", &program::entering(&pods, &flows))?;
        let leaving = bpf::load("gantry_leaving", &program::leaving(&flows))?;
        Ok(FastPath {
            pods,
            flows,
            entering,
            leaving,
            refused: AtomicBool::new(false),
        })
    }

    /// Takes a pod in, by the host's end of its link. What hangs there from an earlier life is replaced. A pod that can't
    /// be taken in works without.
    pub(crate) fn add(&self, host: &mut Socket, link: u32, pod: Ipv4Addr) {
        if self.refused.load(Ordering::Relaxed) {
            return;
        }
        match self.try_add(host, link, pod) {
            // It went while this was done.
            Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => {
                self.refused.store(true, Ordering::Relaxed);
                absent(&error);
            }
            Ok(()) => {}
        }
    }

    fn try_add(&self, host: &mut Socket, link: u32, pod: Ipv4Addr) -> Result<(), Error> {
        let mut messages = Messages::default();
        let what = format!("adding clsact to link {link}");
        let header = header(link, CLSACT_HANDLE, CLSACT_PARENT, 0);
        messages.push(libc::RTM_NEWQDISC, ACK | CREATE, what, &header, |body| {
            body.text(TCA_KIND, "clsact");
        });
        hang(&mut messages, link, ENTERING, &self.entering);
        hang(&mut messages, link, LEAVING, &self.leaving);
        host.transact(&messages)
            .map_err(|refused| Error::kernel(refused.what, refused.source))?;
        let put = self.pods.put(&pod.octets(), &link.to_ne_bytes());
        put.map_err(|source| Error::kernel(format!("putting {pod} into the BPF map"), source))
    }

    /// Leaves a pod out: nothing is given to it straight from now on.
    pub(crate) fn leave_out(&self, pod: Ipv4Addr) -> Result<(), Error> {
        let removed = self.pods.remove(&pod.octets());
        removed.map_err(|source| Error::kernel(format!("taking {pod} out of the BPF map"), source))
    }

    /// How far the connections are that are remembered from one pod to another.
    #[cfg(test)]
    pub(crate) fn states(&self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<i32> {
        let state = |value: &Vec<u8>| {
            let state = value.get(program::flow::STATE as usize..)?.first_chunk()?;
            Some(i32::from_ne_bytes(*state))
        };
        self.between(from, to).iter().filter_map(state).collect()
    }

    /// Packets that took the short cut from one pod to another, over all connections that are remembered.
    #[cfg(test)]
    pub(crate) fn taken(&self, from: Ipv4Addr, to: Ipv4Addr) -> u64 {
        let count = |value: &Vec<u8>| {
            let count = value.get(program::flow::COUNT as usize..)?.first_chunk()?;
            Some(u64::from_ne_bytes(*count))
        };
        self.between(from, to).iter().filter_map(count).sum()
    }

    #[cfg(test)]
    fn between(&self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<Vec<u8>> {
        let between = [from.octets(), to.octets()].concat();
        let flows = self.flows.elements().into_iter();
        let flows = flows.filter(|(key, _)| key.starts_with(&between));
        flows.map(|(_, value)| value).collect()
    }
}

/// Takes programs of an earlier life off a link.
pub(crate) fn strip(host: &mut Socket, link: u32) -> Result<(), Error> {
    let mut messages = Messages::default();
    let what = format!("removing clsact from link {link}");
    let header = header(link, CLSACT_HANDLE, CLSACT_PARENT, 0);
    messages.push(libc::RTM_DELQDISC, ACK, what, &header, |_| {});
    match host.transact(&messages) {
        // There is none.
        Err(Refused { source, .. }) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
        Err(refused) => Err(Error::kernel(refused.what, refused.source)),
        Ok(()) => Ok(()),
    }
}

/// Hangs a program on a link for one direction, for IPv4 packets only.
fn hang(messages: &mut Messages, link: u32, direction: u32, program: &OwnedFd) {
    // The first and only filter; it is found again by priority and handle, and replaced.
    let header = header(link, 1, direction, 1 << 16 | u32::from(ETHERTYPE_IPV4.to_be()));
    let what = format!("hanging a BPF program on link {link}");
    messages.push(libc::RTM_NEWTFILTER, ACK | CREATE, what, &header, |body| {
        body.text(TCA_KIND, "bpf").nest(TCA_OPTIONS, |options| {
            options
                .u32(TCA_BPF_FD, program.as_raw_fd() as u32)
                .text(TCA_BPF_NAME, "gantry")
                .u32(TCA_BPF_FLAGS, DIRECT);
        });
    });
}

/// The kernel's `struct tcmsg`.
fn header(link: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut header = [0; 20];
    for (at, number) in [(4, link), (8, handle), (12, parent), (16, info)] {
        header[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    header
}
