//! Tells when a file that the server was given may have changed: written, replaced, or reached through a link that now leads
//! elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Looked at this often in any case: a link's target may lie in a directory that nobody watches.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Several writes belong together.
const SETTLE: Duration = Duration::from_millis(100);

/// The changes of one file. The first one is told only when it comes.
pub(crate) struct FileChanges {
    /// None when the kernel gives no watch: then the clock alone tells.
    watch: Option<AsyncFd<OwnedFd>>,
}

impl FileChanges {
    /// Watches the directory of a file, and that of what it leads to.
    pub(crate) fn of(file: &Path) -> FileChanges {
        let watch = watch(file);
        if let Err(error) = &watch {
            tracing::warn!(%error, file = %file.display(), "a file can't be watched; it is looked at once a minute");
        }
        FileChanges { watch: watch.ok() }
    }

    /// Until the file may have changed. Dropping the future loses nothing but time.
    pub(crate) async fn next(&mut self) {
        let Some(watch) = &self.watch else {
            return tokio::time::sleep(AT_LEAST).await;
        };
        tokio::select! {
            () = tokio::time::sleep(AT_LEAST) => {}
            ready = watch.readable() => {
                tokio::time::sleep(SETTLE).await;
                if let Ok(mut ready) = ready {
                    let mut buffer = [0u8; 4096];
                    while rustix::io::read(watch.get_ref(), &mut buffer).is_ok_and(|read| read > 0) {}
                    ready.clear_ready();
                }
            }
        }
    }
}

fn watch(file: &Path) -> std::io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::DELETE;
    for directory in directories(file) {
        inotify::add_watch(&fd, &directory, flags)?;
    }
    // SAFETY: an OwnedFd is the same open descriptor for as long as it lives, and the AsyncFd owns it from here on.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

fn directories(file: &Path) -> Vec<PathBuf> {
    let of = |file: &Path| match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut all = vec![of(file)];
    if let Ok(target) = std::fs::canonicalize(file) {
        all.push(of(&target));
    }
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_and_replacements_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, "one").unwrap();
        let mut changes = FileChanges::of(&file);
        let soon = Duration::from_secs(10);
        std::fs::write(&file, "two").unwrap();
        tokio::time::timeout(soon, changes.next()).await.unwrap();
        std::fs::write(dir.path().join("new"), "three").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        tokio::time::timeout(soon, changes.next()).await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(300), changes.next()).await;
        assert!(quiet.is_err());
    }
}
