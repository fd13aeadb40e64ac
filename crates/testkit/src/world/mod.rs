//! A world of machines: network namespaces joined by links that are moved in user space, so that a test can cut them,
//! delay them and lose packets. Nothing of it is seen outside of the namespaces, and nothing is left when it ends.
//!
//! ```text
//! machine 0 --- link 0 --- segment --- link 1 --- machine 1
//!                             |
//!                           router     (knows the segments, and the way to nowhere else)
//! ```

mod link;
mod switch;

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::interface;
use crate::namespace::Namespace;

pub use link::{Conditions, Link};
use switch::Switch;

/// How machines are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All on one segment: they reach each other directly.
    Together,
    /// Each on a segment of its own, with a router between them.
    Apart,
}

/// One machine.
pub struct Machine {
    namespace: Namespace,
    address: Ipv4Addr,
    link: Link,
}

/// Machines and what joins them. They end with this value, and so do all their links.
pub struct World {
    machines: Vec<Machine>,
    // The router has no process in it; the switch holds its taps, and this holds the namespace.
    _router: Namespace,
    _switch: Switch,
}

impl World {
    /// So many machines. Losses follow from the seed.
    pub fn new(count: u8, shape: Shape, seed: u64) -> io::Result<Self> {
        let switch = Switch::start(seed)?;
        let router = Namespace::new()?;
        router.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        let segments = if shape == Shape::Together { 1 } else { count };
        for segment in 0..segments {
            let (name, gateway) = (format!("seg{segment}"), gateway(segment));
            let tap = router.run(|| plug(&name, gateway, segment))??;
            switch.add(usize::from(segment), tap)?;
        }
        let mut machines = Vec::new();
        for number in 0..count {
            let segment = if shape == Shape::Together { 0 } else { number };
            let address = Ipv4Addr::from(u32::from(network(segment).network()) + u32::from(number) + 1);
            let namespace = Namespace::new()?;
            let tap = namespace.run(|| -> io::Result<_> {
                let tap = plug("eth0", address, segment)?;
                // As on a machine that nobody has touched; a new namespace has what the host has.
                std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "0")?;
                interface::set_gateway(gateway(segment))?;
                Ok(tap)
            })??;
            let link = switch.add(usize::from(segment), tap)?;
            machines.push(Machine {
                namespace,
                address,
                link,
            });
        }
        Ok(Self {
            machines,
            _router: router,
            _switch: switch,
        })
    }

    /// A machine by its number.
    pub fn machine(&self, number: usize) -> &Machine {
        &self.machines[number]
    }

    /// The same, to be changed.
    pub fn machine_mut(&mut self, number: usize) -> &mut Machine {
        &mut self.machines[number]
    }

    /// All machines.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }
}

impl Machine {
    /// Where its programs run.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address on `eth0`.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The cable between it and all others.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Gives it another address of its segment; the last byte tells which.
    pub fn renumber(&mut self, last: u8) -> io::Result<()> {
        let segment = self.address.octets()[2];
        let address = Ipv4Addr::from(u32::from(network(segment).network()) + u32::from(last));
        self.namespace.run(|| -> io::Result<()> {
            // Routes go with the address.
            interface::set_address("eth0", address, network(segment))?;
            interface::set_gateway(gateway(segment))
        })??;
        self.address = address;
        Ok(())
    }
}

/// Networks for tests between machines (RFC 2544), which exist in the namespaces only.
fn network(segment: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, segment, 0), 24)
}

fn gateway(segment: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, segment, 254)
}

/// Makes an interface in the namespace of this thread.
fn plug(name: &str, address: Ipv4Addr, segment: u8) -> io::Result<std::fs::File> {
    let tap = interface::tap(name)?;
    interface::set_address(name, address, network(segment))?;
    interface::set_up(name)?;
    Ok(tap)
}
