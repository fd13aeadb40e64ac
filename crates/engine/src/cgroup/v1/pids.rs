//! The number of tasks.

use super::super::Write;
use super::number;
use crate::{Limits, Result};

pub(super) fn limits(limits: &Limits) -> Vec<Write> {
    let text = |pids: i64| if pids < 0 { "max".to_owned() } else { pids.to_string() };
    let write = |pids| Write {
        controller: "pids",
        file: "pids.max",
        value: text(pids),
    };
    limits.pids.map(write).into_iter().collect()
}

pub(super) fn usage(read: &impl Fn(&str, &str) -> Result<String>) -> Result<u64> {
    Ok(number(&read("pids", "pids.current")?))
}
