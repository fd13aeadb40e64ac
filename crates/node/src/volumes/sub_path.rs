//! subPath: a place inside of a volume. A container can write links into its volumes, so the kernel resolves the path
//! and must not leave the volume.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::bundle::ConfigError;

/// The real path of `sub_path` in `volume`; a directory is made if nothing is there.
pub(super) fn resolve(volume: &Path, sub_path: &str) -> Result<PathBuf, ConfigError> {
    let fail = |error: &dyn std::fmt::Display| ConfigError(format!("failed to prepare subPath {sub_path:?}: {error}"));
    let relative = Path::new(sub_path);
    if !relative
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err(fail(&"it must stay inside of the volume"));
    }
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| fail(&error))?;
    let mut made = PathBuf::new();
    let mut found = None;
    for part in relative.components() {
        made.push(part);
        let next = match open(&root, &made) {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(
                    found.as_ref().unwrap_or(&root),
                    part.as_os_str(),
                    Mode::from_raw_mode(0o755),
                )
                .map_err(|error| fail(&error))?;
                open(&root, &made)
            }
            other => other,
        };
        found = Some(next.map_err(|error| fail(&error))?);
    }
    let Some(found) = found else {
        return Ok(volume.to_path_buf());
    };
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(|error| fail(&error))
}

fn open(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir_all(volume.join("a")).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("a", volume.join("in")).unwrap();
        assert_eq!(resolve(&volume, "a/new/deep").unwrap(), volume.join("a/new/deep"));
        assert_eq!(resolve(&volume, "in").unwrap(), volume.join("a"));
        assert!(resolve(&volume, "out").is_err());
        assert!(resolve(&volume, "out/passwd").is_err());
        assert!(resolve(&volume, "../x").is_err());
    }
}
