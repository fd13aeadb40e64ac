//! Memory limits and use.

use super::super::Write;
use super::number;
use crate::{Limits, Result};

pub(super) fn limits(limits: &Limits) -> Vec<Write> {
    let write = |bytes: i64| Write {
        controller: "memory",
        file: "memory.limit_in_bytes",
        value: bytes.to_string(),
    };
    limits.memory.map(write).into_iter().collect()
}

/// Bytes used, and those of them that the kernel cannot just drop.
pub(super) fn usage(read: &impl Fn(&str, &str) -> Result<String>) -> Result<(u64, u64)> {
    let usage = number(&read("memory", "memory.usage_in_bytes")?);
    let stat = read("memory", "memory.stat")?;
    let inactive = stat
        .lines()
        .find_map(|line| line.strip_prefix("total_inactive_file "))
        .map_or(0, number);
    Ok((usage, usage.saturating_sub(inactive)))
}
