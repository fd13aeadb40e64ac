//! The CPU time that processes have used, from /proc/PID/stat.

use std::fs;

use crate::args::ProcessArgs;
use crate::memory;

/// Milliseconds of CPU time that all these processes have used so far; absent when none are named.
pub(crate) fn used_ms(args: &ProcessArgs) -> Option<u64> {
    if args.pids.is_empty() && args.comms.is_empty() {
        return None;
    }
    let mut pids = memory::pids_named(&args.comms);
    pids.extend(&args.pids);
    pids.sort_unstable();
    pids.dedup();
    let ticks: u64 = pids
        .iter()
        .filter_map(|pid| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .sum();
    Some(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// User and system time in ticks: the fields 14 and 15. The name before them may hold spaces and brackets.
fn parse(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 12345 1000 20";
        assert_eq!(parse(stat), Some(300));
    }

    #[test]
    fn this_process_can_be_read() {
        let own = ProcessArgs {
            pids: vec![std::process::id()],
            comms: Vec::new(),
        };
        assert!(used_ms(&own).is_some());
        assert_eq!(used_ms(&ProcessArgs::default()), None);
    }
}
