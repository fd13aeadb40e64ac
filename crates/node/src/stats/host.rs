//! What the whole machine uses, from `/proc`.

use jiff::Timestamp;

/// The machine's counters at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// Processor time of all processors together.
    pub(super) cpu_ns: u64,
    pub(super) memory_usage: u64,
    pub(super) memory_working_set: u64,
}

/// The kernel counts processor time in hundredths of a second towards programs, whatever it does inside.
const TICK_NS: u64 = 10_000_000;

impl Host {
    pub(super) fn read() -> Host {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Host::parse(&text("/proc/stat"), &text("/proc/meminfo"))
    }

    fn parse(stat: &str, meminfo: &str) -> Host {
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<u64>();
        let bytes = |name: &str| {
            let line = meminfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kilobytes.unwrap_or(0) * 1024
        };
        let memory_usage = bytes("MemTotal").saturating_sub(bytes("MemFree"));
        Host {
            cpu_ns: busy * TICK_NS,
            memory_usage,
            memory_working_set: memory_usage.saturating_sub(bytes("Inactive(file)")),
        }
    }
}

/// When the machine was started.
pub(crate) fn boot_time() -> Timestamp {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = text
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_reclaimable_pages_do_not_count() {
        let stat = "cpu  100 20 30 9999 40 1 2 3 0 0\ncpu0 1 1\nbtime 1700000000\n";
        let meminfo = "MemTotal: 1000 kB\nMemFree: 300 kB\nActive(file): 5 kB\nInactive(file): 100 kB\n";
        let host = Host::parse(stat, meminfo);
        assert_eq!(host.cpu_ns, 153 * TICK_NS);
        assert_eq!((host.memory_usage, host.memory_working_set), (700 * 1024, 600 * 1024));
        assert_eq!(Host::parse("", ""), Host::default());
    }
}
