//! Which range is free. Pure.

use ipnet::IpNet;

/// The first part of `cluster` of that size that overlaps nothing taken.
pub(crate) fn first_free(cluster: IpNet, mask: u8, taken: &[IpNet]) -> Option<IpNet> {
    let overlaps = |range: &IpNet| taken.iter().any(|other| range.contains(other) || other.contains(range));
    cluster
        .subnets(mask.max(cluster.prefix_len()))
        .ok()?
        .find(|range| !overlaps(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_gap_is_taken() {
        let cluster = net("10.42.0.0/16");
        assert_eq!(first_free(cluster, 24, &[]), Some(net("10.42.0.0/24")));
        let taken = [net("10.42.0.0/24"), net("10.42.2.0/24")];
        assert_eq!(first_free(cluster, 24, &taken), Some(net("10.42.1.0/24")));
        assert_eq!(
            first_free(cluster, 24, &[net("10.42.0.0/17")]),
            Some(net("10.42.128.0/24"))
        );
        assert_eq!(first_free(net("10.0.0.0/24"), 24, &[net("10.0.0.0/24")]), None);
        assert_eq!(first_free(net("10.0.0.0/25"), 24, &[]), Some(net("10.0.0.0/25")));
    }
}
