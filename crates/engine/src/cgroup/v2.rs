//! Version 2: one hierarchy, controllers handed down step by step.

use std::fs;
use std::path::Path;

use super::Write;
use crate::error::Context;
use crate::{Limits, Result, Stats};

const WANTED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Hands the controllers down to a cgroup's parent, making what is missing on the way.
pub(super) fn delegate(mount: &Path, cgroup: &str) -> Result<()> {
    let mut dir = mount.to_owned();
    for part in cgroup.split('/') {
        let has = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        let on = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        let missing =
            |name: &&&str| has.split_whitespace().any(|c| c == **name) && on.split_whitespace().all(|c| c != **name);
        let add: Vec<_> = WANTED.iter().filter(missing).map(|name| format!("+{name}")).collect();
        if !add.is_empty() {
            let path = dir.join("cgroup.subtree_control");
            fs::write(&path, add.join(" ")).context(|| format!("write {}", path.display()))?;
        }
        dir.push(part);
        fs::create_dir_all(&dir).context(|| format!("make cgroup {}", dir.display()))?;
    }
    Ok(())
}

/// What limits mean in files.
pub(super) fn limits(limits: &Limits) -> Vec<Write> {
    let write = |controller, file, value: String| Write {
        controller,
        file,
        value,
    };
    let max = |number: i64| {
        if number < 0 {
            "max".to_owned()
        } else {
            number.to_string()
        }
    };
    let mut writes = Vec::new();
    writes.extend(
        limits
            .cpu_shares
            .map(|shares| write("cpu", "cpu.weight", weight(shares).to_string())),
    );
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let (quota, period) = (
            max(limits.cpu_quota.unwrap_or(-1)),
            limits.cpu_period.unwrap_or(100_000),
        );
        writes.push(write("cpu", "cpu.max", format!("{quota} {period}")));
    }
    writes.extend(
        limits
            .cpuset_cpus
            .iter()
            .map(|cpus| write("cpuset", "cpuset.cpus", cpus.clone())),
    );
    writes.extend(
        limits
            .cpuset_mems
            .iter()
            .map(|mems| write("cpuset", "cpuset.mems", mems.clone())),
    );
    writes.extend(limits.memory.map(|bytes| write("memory", "memory.max", max(bytes))));
    writes.extend(limits.pids.map(|pids| write("pids", "pids.max", max(pids))));
    writes
}

/// Version 1's 2 to 262,144 on version 2's 1 to 10,000.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// What is used, by a way to read a controller's file.
pub(super) fn stats(read: impl Fn(&str, &str) -> Result<String>) -> Result<Stats> {
    let field = |text: &str, key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse::<u64>().ok());
        line.unwrap_or(0)
    };
    let number = |text: String| text.trim().parse().unwrap_or(0);
    let memory_usage = number(read("memory", "memory.current")?);
    let inactive = field(&read("memory", "memory.stat")?, "inactive_file");
    Ok(Stats {
        cpu_ns: field(&read("cpu", "cpu.stat")?, "usage_usec") * 1000,
        memory_usage,
        memory_working_set: memory_usage.saturating_sub(inactive),
        pids: number(read("pids", "pids.current")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_files() {
        let limits_of = |given: &Limits| -> Vec<_> { limits(given).into_iter().map(|w| (w.file, w.value)).collect() };
        let given = Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(-1),
            memory: Some(-1),
            pids: Some(7),
            ..Limits::default()
        };
        let want = [
            ("cpu.weight", "39"),
            ("cpu.max", "max 100000"),
            ("memory.max", "max"),
            ("pids.max", "7"),
        ];
        assert_eq!(limits_of(&given), want.map(|(file, value)| (file, value.to_owned())));
        assert_eq!((weight(2), weight(262_144)), (1, 10_000));
    }
}
