//! Rules as lists of expressions. A method appends one expression; registers are named by their number, 0 to 15.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::netlink::Attrs;

/// One of the sixteen 32-bit registers. A value of more than four bytes goes on in those behind it.
#[derive(Clone, Copy)]
pub(crate) struct Reg(pub(crate) u32);

/// Where a packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Accept,
    Drop,
    Goto(&'a str),
    Jump(&'a str),
}

/// The expressions of one rule.
#[derive(Clone, Default)]
pub(crate) struct Rule {
    expressions: Attrs,
}

const VERDICT_REGISTER: u32 = 0;
const FIRST_REGISTER: u32 = 8;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const LOOKUP_INVERTED: u32 = 1;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_PROTO_SRC: u32 = 11;
const CT_PROTO_DST: u32 = 12;
const CT_SRC_IP: u32 = 19;
const CT_DST_IP: u32 = 20;
const ORIGINAL: u8 = 0;
const REPLY: u8 = 1;
const CT_STATE_KNOWN: u32 = 2 | 4;
const CT_STATUS_DNAT: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const LOCAL_ADDRESS: u32 = 2;
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;
const DYNSET_UPDATE: u32 = 1;
const NUMGEN_RANDOM: u32 = 1;
const REJECT_ICMP: u32 = 0;
const REJECT_TCP_RESET: u32 = 1;
const ICMP_PORT_UNREACHABLE: u8 = 3;

impl Reg {
    fn number(self) -> u32 {
        FIRST_REGISTER + self.0
    }
}

impl Rule {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.expressions.as_slice()
    }

    pub(crate) fn source_address(self, to: Reg) -> Rule {
        self.payload(NETWORK_HEADER, 12, 4, to)
    }

    pub(crate) fn destination_address(self, to: Reg) -> Rule {
        self.payload(NETWORK_HEADER, 16, 4, to)
    }

    pub(crate) fn protocol(self, to: Reg) -> Rule {
        self.meta(META_L4PROTO, to)
    }

    /// The port is at the same place in TCP, UDP and SCTP.
    pub(crate) fn destination_port(self, to: Reg) -> Rule {
        self.payload(TRANSPORT_HEADER, 2, 2, to)
    }

    /// Goes on when the packet's source is in (or with `not`: outside of) a network.
    pub(crate) fn from(self, network: Ipv4Net, not: bool) -> Rule {
        self.source_address(Reg(0)).in_network(network, not)
    }

    /// Goes on when the packet's destination is in a network.
    pub(crate) fn to(self, network: Ipv4Net, not: bool) -> Rule {
        self.destination_address(Reg(0)).in_network(network, not)
    }

    /// Goes on for packets that came in by a link whose name begins so.
    pub(crate) fn input_prefix(self, prefix: &str) -> Rule {
        self.meta(META_IIFNAME, Reg(0))
            .compare(Reg(0), CMP_EQ, prefix.as_bytes())
    }

    /// Goes on for packets that came in by any link but this one.
    pub(crate) fn not_input(self, name: &str) -> Rule {
        self.meta(META_IIFNAME, Reg(0))
            .compare(Reg(0), CMP_NEQ, format!("{name}\0").as_bytes())
    }

    /// Goes on for packets that leave by a link whose name begins so.
    pub(crate) fn output_prefix(self, prefix: &str) -> Rule {
        self.meta(META_OIFNAME, Reg(0))
            .compare(Reg(0), CMP_EQ, prefix.as_bytes())
    }

    /// Goes on for packets of this protocol.
    pub(crate) fn for_protocol(self, number: u8) -> Rule {
        self.protocol(Reg(0)).compare(Reg(0), CMP_EQ, &[number])
    }

    /// Goes on for packets to this port; the protocol must have been looked at.
    pub(crate) fn for_port(self, port: u16) -> Rule {
        self.destination_port(Reg(0))
            .compare(Reg(0), CMP_EQ, &port.to_be_bytes())
    }

    /// Goes on for VXLAN packets of this network, which stands behind eight bytes of UDP and four of flags.
    pub(crate) fn for_network(self, id: u32) -> Rule {
        let [_, id @ ..] = id.to_be_bytes();
        self.payload(TRANSPORT_HEADER, 12, 3, Reg(0))
            .compare(Reg(0), CMP_EQ, &id)
    }

    /// Goes on for IPv4, in tables that have other packets too.
    pub(crate) fn for_ipv4(self) -> Rule {
        self.meta(META_NFPROTO, Reg(0))
            .compare(Reg(0), CMP_EQ, &[super::FAMILY])
    }

    /// Goes on when the destination is an address of this host.
    pub(crate) fn for_this_host(self) -> Rule {
        self.expression("fib", |fib| {
            fib.be32(1, Reg(0).number())
                .be32(2, FIB_ADDRESS_TYPE)
                .be32(3, FIB_DESTINATION);
        })
        .compare(Reg(0), CMP_EQ, &LOCAL_ADDRESS.to_ne_bytes())
    }

    /// Goes on for packets of connections that are known already, and what is related to them.
    pub(crate) fn known_connection(self) -> Rule {
        self.conntrack(CT_STATE, None, Reg(0)).any_bit(CT_STATE_KNOWN)
    }

    /// Goes on for packets of connections whose destination was changed.
    pub(crate) fn destination_was_changed(self) -> Rule {
        self.conntrack(CT_STATUS, None, Reg(0)).any_bit(CT_STATUS_DNAT)
    }

    /// The destination that the connection was opened to.
    pub(crate) fn original_destination_address(self, to: Reg) -> Rule {
        self.conntrack(CT_DST_IP, Some(ORIGINAL), to)
    }

    pub(crate) fn original_destination_port(self, to: Reg) -> Rule {
        self.conntrack(CT_PROTO_DST, Some(ORIGINAL), to)
    }

    /// Who opened the connection.
    pub(crate) fn original_source_address(self, to: Reg) -> Rule {
        self.conntrack(CT_SRC_IP, Some(ORIGINAL), to)
    }

    /// Who answers: the destination as it was changed.
    pub(crate) fn answering_address(self, to: Reg) -> Rule {
        self.conntrack(CT_SRC_IP, Some(REPLY), to)
    }

    pub(crate) fn answering_port(self, to: Reg) -> Rule {
        self.conntrack(CT_PROTO_SRC, Some(REPLY), to)
    }

    /// Goes on when the address in register 0 is in a network.
    pub(crate) fn in_network(self, network: Ipv4Net, not: bool) -> Rule {
        let operation = if not { CMP_NEQ } else { CMP_EQ };
        self.mask(Reg(0), network.netmask().octets())
            .compare(Reg(0), operation, &network.network().octets())
    }

    /// Goes on when the set has the key that begins in this register.
    pub(crate) fn in_set(self, set: &str, key: Reg) -> Rule {
        self.expression("lookup", |lookup| {
            lookup.text(1, set).be32(2, key.number());
        })
    }

    /// Goes on when the set lacks the key that begins in this register.
    pub(crate) fn not_in_set(self, set: &str, key: Reg) -> Rule {
        self.expression("lookup", |lookup| {
            lookup.text(1, set).be32(2, key.number()).be32(5, LOOKUP_INVERTED);
        })
    }

    /// Goes on with the value that the map has for the key.
    pub(crate) fn look_up(self, map: &str, key: Reg, to: Reg) -> Rule {
        self.expression("lookup", |lookup| {
            lookup.text(1, map).be32(2, key.number()).be32(3, to.number());
        })
    }

    /// Goes where the map says for the key.
    pub(crate) fn dispatch(self, map: &str, key: Reg) -> Rule {
        self.expression("lookup", |lookup| {
            lookup.text(1, map).be32(2, key.number()).be32(3, VERDICT_REGISTER);
        })
    }

    /// A random number below `limit`.
    pub(crate) fn random(self, limit: u32, to: Reg) -> Rule {
        self.expression("numgen", |numgen| {
            numgen
                .be32(1, to.number())
                .be32(2, limit)
                .be32(3, NUMGEN_RANDOM)
                .be32(4, 0);
        })
    }

    /// Puts or renews an element of a map whose elements expire.
    pub(crate) fn remember(self, map: &str, key: Reg, value: Reg, keep: Duration) -> Rule {
        let milliseconds = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        self.expression("dynset", |dynset| {
            dynset
                .text(1, map)
                .be32(3, DYNSET_UPDATE)
                .be32(4, key.number())
                .be32(5, value.number());
            dynset.be64(6, milliseconds);
        })
    }

    pub(crate) fn change_destination(self, address: Reg, port: Reg) -> Rule {
        self.expression("nat", |nat| {
            nat.be32(1, NAT_DESTINATION).be32(2, u32::from(super::FAMILY));
            nat.be32(3, address.number()).be32(5, port.number());
        })
    }

    pub(crate) fn change_source(self, address: Ipv4Addr) -> Rule {
        self.expression("immediate", |immediate| {
            immediate.be32(1, Reg(0).number()).nest(2, |data| {
                data.bytes(1, &address.octets());
            });
        })
        .expression("nat", |nat| {
            nat.be32(1, NAT_SOURCE)
                .be32(2, u32::from(super::FAMILY))
                .be32(3, Reg(0).number());
        })
    }

    pub(crate) fn masquerade(self) -> Rule {
        self.expression("masq", |_| {})
    }

    pub(crate) fn reset_tcp(self) -> Rule {
        self.expression("reject", |reject| {
            reject.be32(1, REJECT_TCP_RESET);
        })
    }

    pub(crate) fn port_unreachable(self) -> Rule {
        self.expression("reject", |reject| {
            reject.be32(1, REJECT_ICMP).bytes(2, &[ICMP_PORT_UNREACHABLE]);
        })
    }

    pub(crate) fn then(self, target: Target<'_>) -> Rule {
        self.expression("immediate", |immediate| {
            immediate
                .be32(1, VERDICT_REGISTER)
                .nest(2, |data| verdict(data, target));
        })
    }

    fn payload(self, base: u32, offset: u32, length: u32, to: Reg) -> Rule {
        self.expression("payload", |payload| {
            payload
                .be32(1, to.number())
                .be32(2, base)
                .be32(3, offset)
                .be32(4, length);
        })
    }

    fn meta(self, key: u32, to: Reg) -> Rule {
        self.expression("meta", |meta| {
            meta.be32(1, to.number()).be32(2, key);
        })
    }

    fn conntrack(self, key: u32, direction: Option<u8>, to: Reg) -> Rule {
        self.expression("ct", |ct| {
            ct.be32(1, to.number()).be32(2, key);
            if let Some(direction) = direction {
                ct.bytes(3, &[direction]);
            }
        })
    }

    /// Goes on when register 0, a number in the machine's byte order, has one of these bits.
    fn any_bit(self, bits: u32) -> Rule {
        self.mask(Reg(0), bits.to_ne_bytes()).compare(Reg(0), CMP_NEQ, &[0; 4])
    }

    fn mask(self, register: Reg, mask: [u8; 4]) -> Rule {
        self.expression("bitwise", |bitwise| {
            bitwise.be32(1, register.number()).be32(2, register.number()).be32(3, 4);
            bitwise.nest(4, |data| {
                data.bytes(1, &mask);
            });
            bitwise.nest(5, |data| {
                data.bytes(1, &[0; 4]);
            });
        })
    }

    fn compare(self, register: Reg, operation: u32, value: &[u8]) -> Rule {
        self.expression("cmp", |cmp| {
            cmp.be32(1, register.number()).be32(2, operation).nest(3, |data| {
                data.bytes(1, value);
            });
        })
    }

    fn expression(mut self, name: &str, data: impl FnOnce(&mut Attrs)) -> Rule {
        self.expressions.nest(1, |element| {
            element.text(1, name).nest(2, data);
        });
        self
    }
}

/// A verdict, as an immediate value or as the value of a map's element.
pub(super) fn verdict(data: &mut Attrs, target: Target<'_>) {
    let (code, chain) = match target {
        Target::Drop => (0, None),
        Target::Accept => (1, None),
        Target::Goto(chain) => (-4, Some(chain)),
        Target::Jump(chain) => (-3, Some(chain)),
    };
    data.nest(2, |verdict| {
        verdict.be32(1, code as u32);
        if let Some(chain) = chain {
            verdict.text(2, chain);
        }
    });
}
