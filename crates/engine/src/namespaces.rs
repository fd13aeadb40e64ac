//! Makes, keeps and enters a sandbox's namespaces. A namespace belongs to a thread, so a thread of its own does this and
//! ends; no process is forked.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::error::{Context, Errors};
use crate::{Namespaces, Result};

/// The kinds that a sandbox can own: file name, flag to leave, type to join.
const KINDS: [(&str, UnshareFlags, LinkNameSpaceType); 3] = [
    ("net", UnshareFlags::NEWNET, LinkNameSpaceType::Network),
    (
        "ipc",
        UnshareFlags::NEWIPC,
        LinkNameSpaceType::InterProcessCommunication,
    ),
    ("uts", UnshareFlags::NEWUTS, LinkNameSpaceType::HostNameAndNISDomainName),
];

fn wanted(namespaces: Namespaces) -> impl Iterator<Item = (&'static str, UnshareFlags, LinkNameSpaceType)> {
    let wants = [namespaces.network, namespaces.ipc, namespaces.uts];
    KINDS
        .into_iter()
        .zip(wants)
        .filter(|(_, wanted)| *wanted)
        .map(|(kind, _)| kind)
}

/// Makes new namespaces and mounts each on a file in `dir`.
pub(crate) fn make(dir: &Path, namespaces: Namespaces) -> Result<()> {
    fs::create_dir_all(dir).context(|| format!("make {}", dir.display()))?;
    let flags = wanted(namespaces).fold(UnshareFlags::empty(), |flags, (_, flag, _)| flags | flag);
    if flags.is_empty() {
        return Ok(());
    }
    on_thread(|| {
        // SAFETY: this thread alone changes, and ends without running anything else's code.
        unsafe { rustix::thread::unshare_unsafe(flags) }.context(|| "make namespaces".into())?;
        if namespaces.network {
            loopback_up().context(|| "bring loopback up".into())?;
        }
        for (name, _, _) in wanted(namespaces) {
            let file = dir.join(name);
            File::create(&file).context(|| format!("make {}", file.display()))?;
            keep(Path::new(&format!("/proc/thread-self/ns/{name}")), &file)?;
        }
        Ok(())
    })
}

/// Mounts a namespace on a file, so that it stays without a process.
pub(crate) fn keep(namespace: &Path, file: &Path) -> Result<()> {
    rustix::mount::mount(namespace, file, c"", MountFlags::BIND, None).context(|| format!("mount {}", file.display()))
}

/// Does something inside of a sandbox's namespaces.
pub(crate) fn inside(dir: &Path, namespaces: Namespaces, act: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    on_thread(|| {
        for (name, _, kind) in wanted(namespaces) {
            let file = dir.join(name);
            let fd = File::open(&file).context(|| format!("open {}", file.display()))?;
            rustix::thread::move_into_link_name_space(fd.as_fd(), Some(kind))
                .context(|| format!("join {}", file.display()))?;
        }
        act()
    })
}

/// Whether a file still has a namespace mounted on it: not after a reboot.
pub(crate) fn kept(file: &Path) -> bool {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    rustix::fs::statfs(file).is_ok_and(|stat| stat.f_type as u64 == NSFS_MAGIC)
}

/// Lets the namespaces go. Can be repeated.
pub(crate) fn release(dir: &Path) -> Result<()> {
    let mut errors = Errors::default();
    for name in ["net", "ipc", "uts", "pid"] {
        let file = dir.join(name);
        if kept(&file) {
            let unmounted = rustix::mount::unmount(&file, UnmountFlags::DETACH);
            errors.note(unmounted.context(|| format!("unmount {}", file.display())));
        }
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                errors.note(Err(error).context(|| format!("remove {}", file.display())));
            }
            _ => {}
        }
    }
    errors.finish()
}

/// Gives this process mounts of its own: what it and the processes that it starts mount from now on is seen by nobody
/// else and is gone when they are. Threads that run already keep the old ones, so it must be called before there are
/// any.
pub fn private_mounts() -> Result<()> {
    let threads = fs::read_dir("/proc/self/task")
        .context(|| "read /proc/self/task".into())?
        .count();
    if threads != 1 {
        return Err(crate::Error::Unsupported(
            "private mounts for a part of a process".into(),
        ));
    }
    // SAFETY: this is the only thread, so none is left behind with other mounts or another working directory.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.context(|| "make a mount namespace".into())?;
    let flags = rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context(|| "keep mounts to this process".into())
}

fn on_thread(act: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespaces".into())
            .spawn_scoped(scope, act);
        let thread = thread.context(|| "start a thread".into())?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("panicked")).context(|| "work in namespaces".into()))
    })
}

fn loopback_up() -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, and this is one.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
