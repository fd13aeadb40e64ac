//! What processes hold in memory: PSS, where pages that several share are split among them, and RSS, where each counts
//! them in full.

use std::fs;
use std::ops::AddAssign;

use serde::Serialize;

use crate::args::ProcessArgs;

/// Resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) pss_kb: u64,
    pub(crate) rss_kb: u64,
    /// How many processes these are together.
    pub(crate) processes: u32,
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.pss_kb += other.pss_kb;
        self.rss_kb += other.rss_kb;
        self.processes += other.processes;
    }
}

impl Memory {
    /// What one of `pods` more costs, in kB of PSS; absent without pods.
    pub(crate) fn pss_kb_per(&self, before: &Self, pods: u32) -> Option<f64> {
        (pods > 0).then(|| (self.pss_kb as f64 - before.pss_kb as f64) / f64::from(pods))
    }
}

/// The memory of all these processes at this moment; absent when none are named or any cannot be read.
pub(crate) fn sample(args: &ProcessArgs) -> Option<Memory> {
    if args.pids.is_empty() && args.comms.is_empty() {
        return None;
    }
    let mut sum = Memory::default();
    for pid in &args.pids {
        match of(*pid) {
            Ok(memory) => sum += memory,
            Err(error) => {
                crate::report::progress(format!("no memory of process {pid}: {error}"));
                return None;
            }
        }
    }
    // One that ended between the listing and the reading is no error here.
    for pid in pids_named(&args.comms)
        .into_iter()
        .filter(|pid| !args.pids.contains(pid))
    {
        sum += of(pid).unwrap_or_default();
    }
    Some(sum)
}

/// The processes whose name begins with one of these.
pub(crate) fn pids_named(prefixes: &[String]) -> Vec<u32> {
    if prefixes.is_empty() {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // The kernel keeps 15 characters of a name.
        prefixes
            .iter()
            .any(|prefix| name.trim_end().starts_with(prefix.get(..15).unwrap_or(prefix)))
    })
    .collect()
}

fn of(pid: u32) -> std::io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(parse(&text))
}

fn parse(rollup: &str) -> Memory {
    let field = |name: &str| {
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or(0)
    };
    Memory {
        pss_kb: field("Pss"),
        rss_kb: field("Rss"),
        processes: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollup_is_read() {
        let text = "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:               11820 kB\nPss:                4021 kB\nPss_Dirty:          900 kB\n";
        assert_eq!(
            parse(text),
            Memory {
                pss_kb: 4021,
                rss_kb: 11820,
                processes: 1
            }
        );
    }

    #[test]
    fn this_process_has_memory() {
        let own = of(std::process::id()).expect("readable");
        assert!(own.pss_kb > 0 && own.rss_kb >= own.pss_kb, "{own:?}");
    }

    #[test]
    fn a_pod_costs_its_share() {
        let before = Memory {
            pss_kb: 1000,
            ..Memory::default()
        };
        let with = Memory {
            pss_kb: 4000,
            ..Memory::default()
        };
        assert_eq!(with.pss_kb_per(&before, 30), Some(100.0));
        assert_eq!(with.pss_kb_per(&before, 0), None);
    }

    #[test]
    fn processes_are_found_by_name() {
        let own = fs::read_to_string("/proc/self/comm")
            .expect("readable")
            .trim_end()
            .to_owned();
        assert!(pids_named(&[own]).contains(&std::process::id()));
        assert!(pids_named(&["no such program".to_owned()]).is_empty());
    }

    #[test]
    fn nothing_named_is_absent_and_so_is_what_cannot_be_read() {
        assert_eq!(sample(&ProcessArgs::default()), None);
        assert_eq!(
            sample(&ProcessArgs {
                pids: vec![u32::MAX],
                comms: Vec::new()
            }),
            None
        );
    }
}
