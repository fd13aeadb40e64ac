//! Device nodes and the links in /dev that every container has.

use oci_spec::runtime::{LinuxDeviceType, Spec};
use shim::plan::Op;

use super::Step;
use super::container::text;
use crate::{Error, Result};

const S_IFIFO: u64 = 0o010_000;
const S_IFCHR: u64 = 0o020_000;
const S_IFBLK: u64 = 0o060_000;

/// The devices that a container has without asking: path, major, minor.
pub(crate) const DEFAULT: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Nodes and links, unless /dev is the host's.
pub(super) fn steps(spec: &Spec, steps: &mut Vec<Step>) -> Result<()> {
    let is_bind = |options: &Option<Vec<String>>| options.iter().flatten().any(|o| o == "bind" || o == "rbind");
    let mut mounts = spec.mounts().iter().flatten();
    if mounts
        .any(|m| m.destination().as_os_str() == "/dev" && (m.typ().as_deref() == Some("bind") || is_bind(m.options())))
    {
        return Ok(());
    }
    for (path, major, minor) in DEFAULT {
        steps.push(node(path.to_owned(), S_IFCHR | 0o666, device(major, minor), 0, 0));
    }
    for wanted in spec.linux().iter().flat_map(|linux| linux.devices().iter().flatten()) {
        let kind = match wanted.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => S_IFCHR,
            LinuxDeviceType::B => S_IFBLK,
            LinuxDeviceType::P => S_IFIFO,
            other => return Err(Error::Invalid(format!("device type {other:?}"))),
        };
        let mode = kind | u64::from(wanted.file_mode().unwrap_or(0o666)) & 0o7777;
        let number = device(wanted.major() as u64, wanted.minor() as u64);
        let (uid, gid) = (wanted.uid().unwrap_or(0), wanted.gid().unwrap_or(0));
        steps.push(node(text(wanted.path())?, mode, number, uid, gid));
    }
    for (to, path) in LINKS {
        steps.push(Step::new(Op::Symlink).strings([to, path]));
    }
    Ok(())
}

fn node(path: String, mode: u64, device: u64, uid: u32, gid: u32) -> Step {
    Step::new(Op::Mknod)
        .args([mode, device, u64::from(uid), u64::from(gid)])
        .strings([path])
}

/// A device number in the kernel's form.
fn device(major: u64, minor: u64) -> u64 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}
