//! The machine itself, asked by `/proc`, `/sys` and system calls that change nothing.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use ipnet::Ipv4Net;

use super::{Capability, Disk, Feature, Host};

/// This machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

/// The whole of the machine's user ids, as `/proc/self/uid_map` shows them outside of any user namespace.
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];
/// overlayfs in statfs(2).
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

impl Host for Machine {
    fn is_root(&self) -> bool {
        crate::process::is_root()
    }

    fn owns_machine(&self) -> bool {
        // A kernel without user namespaces has no such file.
        fs::read_to_string("/proc/self/uid_map").map_or(true, |map| map.split_whitespace().eq(ALL_IDS))
    }

    fn has_capability(&self, capability: Capability) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let set = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        set.is_none_or(|set| set >> capability.bit & 1 == 1)
    }

    fn kernel(&self) -> String {
        rustix::system::uname().release().to_string_lossy().into_owned()
    }

    fn has_feature(&self, feature: Feature) -> bool {
        match feature {
            Feature::Overlay => has_filesystem("overlay"),
            Feature::Namespace(name) => Path::new("/proc/self/ns").join(name).exists(),
            Feature::Seccomp => Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            Feature::Controller(name) => has_controller(name),
            Feature::NfTables => network::has_nf_tables(),
        }
    }

    fn disk(&self, dir: &Path) -> io::Result<Disk> {
        let mut there = dir;
        while !there.exists() {
            there = there.parent().unwrap_or(Path::new("/"));
        }
        let stat = rustix::fs::statvfs(there)?;
        // Where the kernel counts no files there is no limit on them.
        let files = (stat.f_files > 0).then_some(stat.f_favail);
        Ok(Disk {
            free: stat.f_bavail * stat.f_frsize,
            files,
            is_overlay: rustix::fs::statfs(there)?.f_type == OVERLAYFS_MAGIC,
        })
    }

    fn listen(&self, address: SocketAddr) -> io::Result<()> {
        TcpListener::bind(address).map(drop)
    }

    fn ranges(&self, instance: &str, pods: Ipv4Net, services: Ipv4Net) -> Result<(), network::Error> {
        network::check_ranges(instance, pods, services)
    }
}

/// Asking for it also loads its module.
fn has_filesystem(name: &str) -> bool {
    use rustix::mount::{FsOpenFlags, fsopen};
    let Ok(name) = CString::new(name) else { return false };
    !matches!(
        fsopen(&name, FsOpenFlags::FSOPEN_CLOEXEC),
        Err(rustix::io::Errno::NODEV)
    )
}

/// As a hierarchy of version 1, or in the one of version 2.
fn has_controller(name: &str) -> bool {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let own = Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists();
    own || unified.split_whitespace().any(|controller| controller == name)
}
