//! Version 1: a file per controller that decides what is written.

mod cpu;
pub(super) mod cpuset;
pub(super) mod devices;
mod memory;
mod pids;

use super::Write;
use crate::{Limits, Result, Stats};

/// What limits mean in files.
pub(super) fn limits(limits: &Limits) -> Vec<Write> {
    [
        cpu::limits(limits),
        cpuset::limits(limits),
        memory::limits(limits),
        pids::limits(limits),
    ]
    .concat()
}

/// What is used, by a way to read a controller's file.
pub(super) fn stats(read: impl Fn(&str, &str) -> Result<String>) -> Result<Stats> {
    let (memory_usage, memory_working_set) = memory::usage(&read)?;
    Ok(Stats {
        cpu_ns: cpu::usage(&read)?,
        memory_usage,
        memory_working_set,
        pids: pids::usage(&read)?,
    })
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}
