//! NodePorts: two pods cannot have one port of the host.

use super::{Events, Plugin, Verdict};
use crate::model::{HostPort, Node, Pod};

pub(crate) struct Ports;

impl Plugin for Ports {
    fn helped_by(&self) -> Events {
        Events::NODE_ADDED.or(Events::POD_GONE)
    }

    fn filter(&self, pod: &Pod, node: &Node) -> Verdict {
        if pod
            .ports
            .iter()
            .any(|wanted| node.ports.iter().any(|taken| clash(wanted, taken)))
        {
            return Verdict::taken("node(s) didn't have free ports for the requested pod ports");
        }
        Verdict::Fits
    }
}

fn clash(one: &HostPort, other: &HostPort) -> bool {
    one.port == other.port
        && one.protocol == other.protocol
        && (one.address.is_none() || other.address.is_none() || one.address == other.address)
}
