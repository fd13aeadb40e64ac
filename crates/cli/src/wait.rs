//! Waiting for the signs that processes leave, without asking again and again.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Looks whenever something in `dir` changes, until `look` has an answer or the time is over. Looks once a second
/// besides, because a process that is killed leaves no sign.
pub fn for_sign<T>(dir: &Path, limit: Duration, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<Option<T>> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context("inotify")?;
    inotify::add_watch(
        &fd,
        dir,
        WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE,
    )
    .with_context(|| format!("watching {}", dir.display()))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(Some(found));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let pause = Timespec::try_from(left.min(Duration::from_secs(1))).context("the time to wait")?;
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting"),
        }
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&fd, &mut buffer).is_ok_and(|n| n > 0) {}
    }
}
