//! Addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Table, opaque, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::{Opaque, Value};

const IP_NAME: &str = "net.IP";
const CIDR_NAME: &str = "net.CIDR";
const IP: Type = Type::Opaque(IP_NAME);
const CIDR: Type = Type::Opaque(CIDR_NAME);

#[derive(Debug, PartialEq)]
struct Address(IpAddr);

impl Opaque for Address {
    fn type_name(&self) -> &'static str {
        IP_NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.downcast::<Address>() == Some(self)
    }
}

#[derive(Debug, PartialEq)]
struct Network(IpNet);

impl Opaque for Network {
    fn type_name(&self) -> &'static str {
        CIDR_NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.downcast::<Network>() == Some(self)
    }
}

pub(super) fn add(table: &mut Table) {
    addresses(table);
    networks(table);
}

fn parse_ip(text: &str) -> Result<IpAddr, Error> {
    if text.contains('%') {
        return Err(Error::other(format!(
            "IP address {text:?} with zone value is not allowed"
        )));
    }
    let parsed: IpAddr = text.parse().map_err(|_| {
        Error::other(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))
    })?;
    if matches!(parsed, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err(Error::other(format!(
            "IPv4-mapped IPv6 address {text:?} is not allowed"
        )));
    }
    Ok(parsed)
}

fn parse_cidr(text: &str) -> Result<IpNet, Error> {
    let parsed: IpNet = text.parse().map_err(|_| {
        Error::other(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): unable to parse"
        ))
    })?;
    if matches!(parsed.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err(Error::other(format!(
            "IPv4-mapped IPv6 address {text:?} is not allowed"
        )));
    }
    Ok(parsed)
}

fn address(value: &Value) -> Result<IpAddr, Error> {
    opaque::<Address>(value).map(|address| address.0)
}

fn network(value: &Value) -> Result<IpNet, Error> {
    opaque::<Network>(value).map(|network| network.0)
}

fn addresses(table: &mut Table) {
    table.global("ip", [Type::String], IP, |a| {
        Ok(Value::opaque(Address(parse_ip(text(&a[0])?)?)))
    });
    table.global("isIP", [Type::String], Type::Bool, |a| {
        Ok(Value::Bool(parse_ip(text(&a[0])?).is_ok()))
    });
    table.global("ip.isCanonical", [Type::String], Type::Bool, |a| {
        let text = text(&a[0])?;
        Ok(Value::Bool(parse_ip(text)?.to_string() == text))
    });
    table.global("string", [IP], Type::String, |a| {
        Ok(Value::text(address(&a[0])?.to_string()))
    });
    table.method("family", [IP], Type::Int, |a| {
        Ok(Value::Int(if address(&a[0])?.is_ipv4() { 4 } else { 6 }))
    });
    table.method("isUnspecified", [IP], Type::Bool, |a| {
        Ok(Value::Bool(address(&a[0])?.is_unspecified()))
    });
    table.method("isLoopback", [IP], Type::Bool, |a| {
        Ok(Value::Bool(address(&a[0])?.is_loopback()))
    });
    table.method("isLinkLocalMulticast", [IP], Type::Bool, |a| {
        Ok(Value::Bool(is_link_local_multicast(address(&a[0])?)))
    });
    table.method("isLinkLocalUnicast", [IP], Type::Bool, |a| {
        Ok(Value::Bool(is_link_local(address(&a[0])?)))
    });
    table.method("isGlobalUnicast", [IP], Type::Bool, |a| {
        let address = address(&a[0])?;
        let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        Ok(Value::Bool(!special && !broadcast && !is_link_local(address)))
    });
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

fn networks(table: &mut Table) {
    table.global("cidr", [Type::String], CIDR, |a| {
        Ok(Value::opaque(Network(parse_cidr(text(&a[0])?)?)))
    });
    table.global("isCIDR", [Type::String], Type::Bool, |a| {
        Ok(Value::Bool(parse_cidr(text(&a[0])?).is_ok()))
    });
    table.global("string", [CIDR], Type::String, |a| {
        Ok(Value::text(network(&a[0])?.to_string()))
    });
    table.add(
        "containsIP",
        "cidr_contains_ip_string",
        true,
        [CIDR, Type::String],
        Type::Bool,
        |a| Ok(Value::Bool(network(&a[0])?.contains(&parse_ip(text(&a[1])?)?))),
    );
    table.method("containsIP", [CIDR, IP], Type::Bool, |a| {
        Ok(Value::Bool(network(&a[0])?.contains(&address(&a[1])?)))
    });
    table.add(
        "containsCIDR",
        "cidr_contains_cidr_string",
        true,
        [CIDR, Type::String],
        Type::Bool,
        |a| Ok(Value::Bool(network(&a[0])?.contains(&parse_cidr(text(&a[1])?)?))),
    );
    table.method("containsCIDR", [CIDR, CIDR], Type::Bool, |a| {
        Ok(Value::Bool(network(&a[0])?.contains(&network(&a[1])?)))
    });
    table.add("ip", "cidr_ip", true, [CIDR], IP, |a| {
        Ok(Value::opaque(Address(network(&a[0])?.addr())))
    });
    table.method("prefixLength", [CIDR], Type::Int, |a| {
        Ok(Value::Int(network(&a[0])?.prefix_len().into()))
    });
    table.method("masked", [CIDR], CIDR, |a| {
        Ok(Value::opaque(Network(network(&a[0])?.trunc())))
    });
}
