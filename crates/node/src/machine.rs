//! What this machine has.

use std::sync::OnceLock;

/// Processors that this process may use.
pub(crate) fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Bytes of memory.
pub(crate) fn memory() -> u64 {
    static MEMORY: OnceLock<u64> = OnceLock::new();
    *MEMORY.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = text.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        kilobytes.unwrap_or(0) * 1024
    })
}

/// Bytes of the file system that holds `path`.
pub(crate) fn disk(path: &std::path::Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stat| stat.f_blocks * stat.f_frsize)
}

/// One line of a file, trimmed; empty when there is none.
pub(crate) fn line_of(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_string())
        .unwrap_or_default()
}

/// The distribution's name, `PRETTY_NAME` of os-release.
pub(crate) fn os_image() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_string(), |name| name.trim_matches('"').to_string())
}

/// Whether this process, and so whatever it starts, may not have a capability: hosts withhold some from containers and
/// virtual machines. `bit` is the kernel's number of it.
pub(crate) fn withholds(bit: u32) -> bool {
    static PERMITTED: OnceLock<u64> = OnceLock::new();
    let permitted = PERMITTED.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let set = text.lines().find_map(|line| line.strip_prefix("CapPrm:"));
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
            .unwrap_or(u64::MAX)
    });
    permitted >> bit & 1 == 0
}
