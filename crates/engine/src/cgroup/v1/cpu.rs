//! Processor shares, quotas and time.

use super::super::Write;
use super::number;
use crate::{Limits, Result};

pub(super) fn limits(limits: &Limits) -> Vec<Write> {
    let write = |file, value: String| Write {
        controller: "cpu",
        file,
        value,
    };
    let mut writes = Vec::new();
    writes.extend(limits.cpu_shares.map(|shares| write("cpu.shares", shares.to_string())));
    // The period first: the kernel checks each quota against it.
    writes.extend(
        limits
            .cpu_period
            .map(|period| write("cpu.cfs_period_us", period.to_string())),
    );
    writes.extend(
        limits
            .cpu_quota
            .map(|quota| write("cpu.cfs_quota_us", quota.to_string())),
    );
    writes
}

pub(super) fn usage(read: &impl Fn(&str, &str) -> Result<String>) -> Result<u64> {
    Ok(number(&read("cpuacct", "cpuacct.usage")?))
}
