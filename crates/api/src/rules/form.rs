//! The forms of addresses and path segments, beside those of names that `meta` has. Each check returns every reason
//! why a text isn't of the form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) use meta::names::{
    config_key, dns_label, dns_subdomain, dns1035_label, env_var_name, http_header_name, label_value, percent,
    port_name, qualified_name, wildcard_dns_subdomain,
};

/// A DNS subdomain whose labels may begin with, and have, underscores: what resolvers search.
pub(crate) fn dns_subdomain_with_underscore(value: &str) -> Vec<String> {
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'_'))
    };
    let mut reasons = Vec::new();
    if value.len() > meta::names::SUBDOMAIN_MAX {
        reasons.push(meta::names::max_length(meta::names::SUBDOMAIN_MAX));
    }
    if !value.split('.').all(label) {
        reasons.push(meta::names::format_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    reasons
}

/// What may be one segment of a URL path.
pub(crate) fn path_segment(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    path_segment_prefix(value)
}

/// What may begin a segment of a URL path.
pub(crate) fn path_segment_prefix(value: &str) -> Vec<String> {
    ["/", "%"]
        .iter()
        .filter(|bad| value.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// An IPv4 or IPv6 address.
pub(crate) fn ip(value: &str) -> Vec<String> {
    if value.parse::<Ipv4Addr>().is_ok() || value.parse::<Ipv6Addr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

/// An address, a slash and the length of a prefix.
pub(crate) fn cidr(value: &str) -> Vec<String> {
    let good = value.split_once('/').is_some_and(|(address, length)| {
        let most = if address.parse::<Ipv4Addr>().is_ok() {
            32
        } else if address.parse::<Ipv6Addr>().is_ok() {
            128
        } else {
            return false;
        };
        let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
        plain && length.parse::<u8>().is_ok_and(|length| length <= most)
    });
    if good {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
    }
}

/// Whether one range of addresses is a part, but not all, of another. Both must be well-formed.
pub(crate) fn is_strictly_inside(inner: &str, outer: &str) -> bool {
    fn read(cidr: &str) -> Option<(IpAddr, u32)> {
        let (address, length) = cidr.split_once('/')?;
        Some((address.parse().ok()?, length.parse().ok()?))
    }
    let bits = |address: IpAddr, length: u32| match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)).checked_shr(32 - length).unwrap_or(0),
        IpAddr::V6(ip) => u128::from(ip).checked_shr(128 - length).unwrap_or(0),
    };
    let (Some((inner, inner_length)), Some((outer, outer_length))) = (read(inner), read(outer)) else {
        return false;
    };
    inner.is_ipv4() == outer.is_ipv4()
        && inner_length > outer_length
        && bits(inner, outer_length) == bits(outer, outer_length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for (check, good, bad) in [
            (
                cidr as fn(&str) -> Vec<String>,
                ["10.0.0.0/8", "fd00::/64"],
                ["10.0.0.0", "10.0.0.0/33"],
            ),
            (ip, ["10.0.0.1", "::1"], ["10.0.0", "010.0.0.1"]),
            (path_segment, ["a:b", "A"], ["..", "a/b"]),
        ] {
            for value in good {
                assert!(check(value).is_empty(), "{value:?}: {:?}", check(value));
            }
            for value in bad {
                assert!(!check(value).is_empty(), "{value:?} passed");
            }
        }
    }
}
