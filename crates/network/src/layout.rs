//! The instance's table: its sets, chains and fixed rules. What is in the sets is the business of `services`.
//!
//! A packet's way is in docs/design/network.md. A change here needs a new `VERSION`, so that a table of an older
//! program is replaced as a whole.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::error::Error;
use crate::nft::types::{ADDRESS, NUMBER, PORT, PROTOCOL, kinds};
use crate::nft::{Base, Batch, Map, Reg, Rule, Set, Target};
use crate::overlay;

/// The version of the layout, noted on the table.
pub(crate) const VERSION: u32 = 4;

/// The names of sets and maps.
pub(crate) mod set {
    /// address, protocol, port -> chain that picks an endpoint.
    pub(crate) const ADDRESSES: &str = "addresses";
    /// protocol, port on any address of this host -> chain.
    pub(crate) const PORTS: &str = "ports";
    /// The same for packets from outside, where they go another way.
    pub(crate) const OUTSIDE_ADDRESSES: &str = "outside-addresses";
    pub(crate) const OUTSIDE_PORTS: &str = "outside-ports";
    /// The same keys and an index -> address and port of an endpoint.
    pub(crate) const ADDRESS_ENDPOINTS: &str = "address-endpoints";
    pub(crate) const PORT_ENDPOINTS: &str = "port-endpoints";
    pub(crate) const OUTSIDE_ADDRESS_ENDPOINTS: &str = "outside-address-endpoints";
    pub(crate) const OUTSIDE_PORT_ENDPOINTS: &str = "outside-port-endpoints";
    /// What was asked for -> chain that notes which endpoint the client got.
    pub(crate) const REMEMBERED: &str = "remembered";
    pub(crate) const REMEMBERED_PORTS: &str = "remembered-ports";
    /// client, address, protocol, port -> the endpoint that it had last.
    pub(crate) const AFFINITY: &str = "affinity";
    /// pod, pod: connections of a pod that lead back to itself.
    pub(crate) const HAIRPIN: &str = "hairpin";
    /// Without an endpoint: refuse at once.
    pub(crate) const REFUSED: &str = "refused";
    pub(crate) const REFUSED_PORTS: &str = "refused-ports";
    /// What came by these has its source changed, so that the answer comes back through this host.
    pub(crate) const MASQUERADED: &str = "masqueraded";
    pub(crate) const MASQUERADED_PORTS: &str = "masqueraded-ports";
    /// Nodes from which packets come by the tunnel.
    pub(crate) const TUNNEL_PEERS: &str = "tunnel-peers";
}

const ADDRESS_KEY: u32 = 12;
const PORT_KEY: u32 = 8;

const SETS: &[Set] = &[
    Set {
        name: set::ADDRESSES,
        key: ADDRESS_KEY,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT]),
        map: Map::Verdict,
    },
    Set {
        name: set::PORTS,
        key: PORT_KEY,
        kind: kinds(&[PROTOCOL, PORT]),
        map: Map::Verdict,
    },
    Set {
        name: set::OUTSIDE_ADDRESSES,
        key: ADDRESS_KEY,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT]),
        map: Map::Verdict,
    },
    Set {
        name: set::OUTSIDE_PORTS,
        key: PORT_KEY,
        kind: kinds(&[PROTOCOL, PORT]),
        map: Map::Verdict,
    },
    Set {
        name: set::ADDRESS_ENDPOINTS,
        key: ADDRESS_KEY + 4,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT, NUMBER]),
        map: Map::Value(8),
    },
    Set {
        name: set::PORT_ENDPOINTS,
        key: PORT_KEY + 4,
        kind: kinds(&[PROTOCOL, PORT, NUMBER]),
        map: Map::Value(8),
    },
    Set {
        name: set::OUTSIDE_ADDRESS_ENDPOINTS,
        key: ADDRESS_KEY + 4,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT, NUMBER]),
        map: Map::Value(8),
    },
    Set {
        name: set::OUTSIDE_PORT_ENDPOINTS,
        key: PORT_KEY + 4,
        kind: kinds(&[PROTOCOL, PORT, NUMBER]),
        map: Map::Value(8),
    },
    Set {
        name: set::REMEMBERED,
        key: ADDRESS_KEY,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT]),
        map: Map::Verdict,
    },
    Set {
        name: set::REMEMBERED_PORTS,
        key: PORT_KEY,
        kind: kinds(&[PROTOCOL, PORT]),
        map: Map::Verdict,
    },
    Set {
        name: set::AFFINITY,
        key: 16,
        kind: kinds(&[ADDRESS, ADDRESS, PROTOCOL, PORT]),
        map: Map::Remembered(8),
    },
    Set {
        name: set::HAIRPIN,
        key: 8,
        kind: kinds(&[ADDRESS, ADDRESS]),
        map: Map::None,
    },
    Set {
        name: set::REFUSED,
        key: ADDRESS_KEY,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT]),
        map: Map::None,
    },
    Set {
        name: set::REFUSED_PORTS,
        key: PORT_KEY,
        kind: kinds(&[PROTOCOL, PORT]),
        map: Map::None,
    },
    Set {
        name: set::MASQUERADED,
        key: ADDRESS_KEY,
        kind: kinds(&[ADDRESS, PROTOCOL, PORT]),
        map: Map::None,
    },
    Set {
        name: set::MASQUERADED_PORTS,
        key: PORT_KEY,
        kind: kinds(&[PROTOCOL, PORT]),
        map: Map::None,
    },
    Set {
        name: set::TUNNEL_PEERS,
        key: 4,
        kind: ADDRESS,
        map: Map::None,
    },
];

/// The sets that services fill and a full reload empties first; what clients got used to stays.
pub(crate) fn filled_sets() -> impl Iterator<Item = &'static str> {
    const OTHERS: [&str; 2] = [set::AFFINITY, set::TUNNEL_PEERS];
    SETS.iter().map(|set| set.name).filter(|name| !OTHERS.contains(name))
}

/// Chains with fixed rules.
mod chain {
    pub(super) const RAW: &str = "raw-prerouting";
    pub(super) const PREROUTING: &str = "nat-prerouting";
    pub(super) const INPUT: &str = "nat-input";
    pub(super) const OUTPUT: &str = "nat-output";
    pub(super) const POSTROUTING: &str = "nat-postrouting";
    pub(super) const FILTER_INPUT: &str = "filter-input";
    pub(super) const FILTER_FORWARD: &str = "filter-forward";
    pub(super) const FILTER_OUTPUT: &str = "filter-output";
    pub(super) const REFUSE: &str = "refuse";
    pub(super) const SOURCE: &str = "change-source";
}

const HOOK_PREROUTING: u32 = 0;
const HOOK_INPUT: u32 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_OUTPUT: u32 = 3;
const HOOK_POSTROUTING: u32 = 4;
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DESTINATION: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_SOURCE: i32 = 100;

/// What the fixed rules depend on.
pub(crate) struct Layout {
    /// The pods of all nodes.
    pub(crate) pods: Ipv4Net,
    pub(crate) services: Ipv4Net,
    pub(crate) node_address: Ipv4Addr,
}

/// Makes everything that is always there. The table itself exists and is empty.
pub(crate) fn make(batch: &mut Batch, layout: &Layout) {
    for set in SETS {
        batch.set(set);
    }
    for name in [chain::REFUSE, chain::SOURCE] {
        batch.chain(name, None);
    }
    let base = |kind, hook, priority| Some(Base { kind, hook, priority });
    batch.chain(chain::RAW, base("filter", HOOK_PREROUTING, PRIORITY_RAW));
    batch.chain(chain::PREROUTING, base("nat", HOOK_PREROUTING, PRIORITY_DESTINATION));
    batch.chain(chain::OUTPUT, base("nat", HOOK_OUTPUT, PRIORITY_DESTINATION));
    batch.chain(chain::INPUT, base("nat", HOOK_INPUT, PRIORITY_SOURCE));
    batch.chain(chain::POSTROUTING, base("nat", HOOK_POSTROUTING, PRIORITY_SOURCE));
    batch.chain(chain::FILTER_INPUT, base("filter", HOOK_INPUT, PRIORITY_FILTER));
    batch.chain(chain::FILTER_FORWARD, base("filter", HOOK_FORWARD, PRIORITY_FILTER));
    batch.chain(chain::FILTER_OUTPUT, base("filter", HOOK_OUTPUT, PRIORITY_FILTER));
    let rule = Rule::default;
    // Links may take answers to 127.0.0.1, which bear another address until conntrack has seen them. Nothing else may
    // come in by that door, whatever the kernel would let through.
    let from_elsewhere = || rule().not_input("lo");
    batch.rule(chain::RAW, &from_elsewhere().to(LOOPBACK, false).then(Target::Drop));
    batch.rule(chain::RAW, &from_elsewhere().from(LOOPBACK, false).then(Target::Drop));
    destinations(batch, layout);
    remembering(batch);
    sources(batch, layout);
    filters(batch, layout);
    // Made here, though no service may need it yet: so a kernel that can't do it is found out at once.
    pick_chain(
        batch,
        &Pick {
            front: Front::Address,
            outside: false,
            endpoints: 1,
            affinity: Some(PROBE),
        },
    );
    remember_chain(batch, PROBE);
}

const PROBE: Duration = Duration::from_secs(10_800);

/// Services: from the address that was asked for to a chain that picks an endpoint.
fn destinations(batch: &mut Batch, layout: &Layout) {
    let from_outside = || Rule::default().from(layout.pods, true);
    let dispatch = |rule: Rule, map| address_key(rule, Reg(0)).dispatch(map, Reg(0));
    let dispatch_port = |rule: Rule, map| port_key(rule.for_this_host(), Reg(0)).dispatch(map, Reg(0));
    batch.rule(chain::PREROUTING, &dispatch(from_outside(), set::OUTSIDE_ADDRESSES));
    batch.rule(chain::PREROUTING, &dispatch_port(from_outside(), set::OUTSIDE_PORTS));
    for name in [chain::PREROUTING, chain::OUTPUT] {
        batch.rule(name, &dispatch(Rule::default(), set::ADDRESSES));
        batch.rule(name, &dispatch_port(Rule::default(), set::PORTS));
    }
}

/// Which endpoint a client of a service with affinity got is noted when its connection leaves, for a pod or, by the
/// other way, for a process of this host. By then conntrack knows it.
///
/// Not where it is picked: what a map gave can't be part of a key or value there, or nft(8) 1.0 takes it for nothing,
/// and dies when it lists the rule.
fn remembering(batch: &mut Batch) {
    for name in [chain::POSTROUTING, chain::INPUT] {
        let by_address = asked().dispatch(set::REMEMBERED, Reg(0));
        batch.rule(name, &by_address);
        batch.rule(name, &asked().dispatch(set::REMEMBERED_PORTS, Reg(1)));
    }
}

/// What a connection whose destination was changed asked for: address, protocol and port in three registers.
fn asked() -> Rule {
    let rule = Rule::default().destination_was_changed();
    let rule = rule.original_destination_address(Reg(0));
    rule.protocol(Reg(1)).original_destination_port(Reg(2))
}

/// Whose source must change, so that answers find back.
fn sources(batch: &mut Batch, layout: &Layout) {
    let rule = Rule::default;
    let (name, change) = (chain::POSTROUTING, Target::Goto(chain::SOURCE));
    batch.rule(name, &rule().output_prefix("lo\0").then(Target::Accept));
    let pair = rule().source_address(Reg(0)).destination_address(Reg(1));
    batch.rule(name, &pair.in_set(set::HAIRPIN, Reg(0)).then(change));
    batch.rule(
        name,
        &rule().from(layout.pods, false).to(layout.pods, true).then(change),
    );
    batch.rule(
        name,
        &rule().destination_was_changed().from(LOOPBACK, false).then(change),
    );
    batch.rule(name, &asked().in_set(set::MASQUERADED, Reg(0)).then(change));
    let by_port = asked().in_set(set::MASQUERADED_PORTS, Reg(1));
    batch.rule(name, &by_port.in_network(layout.services, true).then(change));
    let stranger = rule()
        .from(layout.pods, true)
        .destination_was_changed()
        .original_destination_address(Reg(0));
    batch.rule(name, &stranger.in_network(layout.services, false).then(change));
    // Neither pod links nor the tunnel have an address that could be taken, and pods of other nodes know the way back
    // to this one.
    let to_pods = rule().to(layout.pods, false);
    batch.rule(chain::SOURCE, &to_pods.change_source(layout.node_address));
    batch.rule(chain::SOURCE, &rule().masquerade());
}

/// What no endpoint takes is refused, so that nobody waits for it.
fn filters(batch: &mut Batch, layout: &Layout) {
    let rule = Rule::default;
    let refuse = Target::Goto(chain::REFUSE);
    // Whoever may send to the tunnel's port could else speak as any pod.
    let stranger = rule()
        .for_protocol(17)
        .for_port(overlay::PORT)
        .for_network(overlay::vni(layout.pods));
    let stranger = stranger.source_address(Reg(0)).not_in_set(set::TUNNEL_PEERS, Reg(0));
    batch.rule(chain::FILTER_INPUT, &stranger.then(Target::Drop));
    for name in [chain::FILTER_INPUT, chain::FILTER_FORWARD, chain::FILTER_OUTPUT] {
        batch.rule(name, &rule().known_connection().then(Target::Accept));
        batch.rule(
            name,
            &address_key(rule(), Reg(0)).in_set(set::REFUSED, Reg(0)).then(refuse),
        );
    }
    let own_port = port_key(rule().for_this_host(), Reg(0)).in_set(set::REFUSED_PORTS, Reg(0));
    batch.rule(chain::FILTER_INPUT, &own_port.then(refuse));
    // No host has a service's address, so what still bears one found no service.
    for name in [chain::FILTER_FORWARD, chain::FILTER_OUTPUT] {
        batch.rule(name, &rule().to(layout.services, false).then(refuse));
    }
    batch.rule(chain::REFUSE, &rule().for_protocol(6).reset_tcp());
    batch.rule(chain::REFUSE, &rule().port_unreachable());
}

/// Which part of the kernel is missing, by what it refused to make.
pub(crate) fn missing_feature(what: &str, source: io::Error) -> Error {
    let (feature, option) = if what.contains(chain::SOURCE) || what.contains("chain nat-") {
        ("changing addresses in nf_tables", "CONFIG_NFT_NAT and CONFIG_NFT_MASQ")
    } else if what.contains(chain::REFUSE) {
        ("refusing packets in nf_tables", "CONFIG_NFT_REJECT")
    } else if what.contains("rule to pick-") {
        ("picking at random in nf_tables", "CONFIG_NFT_NUMGEN")
    } else if what.contains("rule to nat-") || what.contains("rule to remember-") {
        (
            "looking up addresses in nf_tables",
            "CONFIG_NFT_FIB_INET and CONFIG_NFT_CT",
        )
    } else if what.contains("rule to filter-") {
        ("connection states in nf_tables", "CONFIG_NFT_CT")
    } else {
        ("nf_tables", "CONFIG_NF_TABLES")
    };
    Error::KernelFeature {
        feature,
        option,
        source,
    }
}

/// By what a service was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Front {
    /// One of its addresses.
    Address,
    /// Its port on any address of this host.
    Port,
}

/// A chain that picks one of so many endpoints. All services with that number of endpoints share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pick {
    pub(crate) front: Front,
    pub(crate) outside: bool,
    pub(crate) endpoints: u32,
    pub(crate) affinity: Option<Duration>,
}

impl Pick {
    pub(crate) fn chain(&self) -> String {
        let outside = if self.outside { "outside-" } else { "" };
        let front = match self.front {
            Front::Address => "address",
            Front::Port => "port",
        };
        let affinity = self
            .affinity
            .map(|keep| format!("-for-{}", keep.as_secs()))
            .unwrap_or_default();
        format!("pick-{outside}{front}-{}{affinity}", self.endpoints)
    }

    /// The chain that notes what clients got.
    pub(crate) fn remembering(&self) -> Option<String> {
        self.affinity.map(remember_name)
    }
}

/// The map from what was asked for, and an index, to endpoints.
pub(crate) fn endpoints_of(front: Front, outside: bool) -> &'static str {
    match (front, outside) {
        (Front::Address, false) => set::ADDRESS_ENDPOINTS,
        (Front::Address, true) => set::OUTSIDE_ADDRESS_ENDPOINTS,
        (Front::Port, false) => set::PORT_ENDPOINTS,
        (Front::Port, true) => set::OUTSIDE_PORT_ENDPOINTS,
    }
}

const CLIENT: Reg = Reg(8);
const ENDPOINT: Reg = Reg(12);
const ENDPOINT_PORT: Reg = Reg(13);

/// Makes a picking chain. What it does follows from its name, so that one that is there needs no look.
pub(crate) fn pick_chain(batch: &mut Batch, pick: &Pick) {
    let name = pick.chain();
    batch.chain(&name, None);
    if pick.affinity.is_some() {
        let client_key = address_key(Rule::default().source_address(CLIENT), Reg(9));
        let known = client_key.look_up(set::AFFINITY, CLIENT, ENDPOINT);
        batch.rule(&name, &known.change_destination(ENDPOINT, ENDPOINT_PORT));
    }
    // A packet may look up the number of endpoints just before a change and the endpoint just after it. The one that it
    // drew may be gone then; the first is always there.
    for limit in BTreeSet::from([pick.endpoints, 1]).into_iter().rev() {
        let (keyed, index) = match pick.front {
            Front::Address => (address_key(Rule::default(), Reg(0)), Reg(3)),
            Front::Port => (port_key(Rule::default(), Reg(0)), Reg(2)),
        };
        let drawn = keyed.random(limit, index);
        let found = drawn.look_up(endpoints_of(pick.front, pick.outside), Reg(0), ENDPOINT);
        batch.rule(&name, &found.change_destination(ENDPOINT, ENDPOINT_PORT));
    }
}

fn remember_name(keep: Duration) -> String {
    format!("remember-{}", keep.as_secs())
}

/// Makes the chain that notes clients for so long. Its name says how long.
pub(crate) fn remember_chain(batch: &mut Batch, keep: Duration) {
    let name = remember_name(keep);
    batch.chain(&name, None);
    let client = Rule::default().original_source_address(CLIENT);
    let client = client.original_destination_address(Reg(9)).protocol(Reg(10));
    let noted = client.original_destination_port(Reg(11)).answering_address(ENDPOINT);
    let noted = noted.answering_port(ENDPOINT_PORT);
    batch.rule(&name, &noted.remember(set::AFFINITY, CLIENT, ENDPOINT, keep));
}

/// Destination address, protocol and port in three registers: the key of `ADDRESSES` and others.
fn address_key(rule: Rule, first: Reg) -> Rule {
    port_key(rule.destination_address(first), Reg(first.0 + 1))
}

/// Protocol and port in two registers.
fn port_key(rule: Rule, first: Reg) -> Rule {
    rule.protocol(first).destination_port(Reg(first.0 + 1))
}
