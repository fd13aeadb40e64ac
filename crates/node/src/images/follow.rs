//! Tells when images come or go, so that a pod that waits for one starts at once.

use std::path::Path;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::sync::watch;

use crate::Error;

/// Counts the changes of the names in an image store.
pub(crate) fn follow(store: &Path) -> Result<watch::Receiver<u64>, Error> {
    let names = store.join("names");
    let failed = |source: std::io::Error| Error::File {
        path: names.clone(),
        source,
    };
    let fd =
        inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    inotify::add_watch(&fd, &names, inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE)
        .map_err(|e| failed(e.into()))?;
    let fd = crate::stream::pipe::register(fd, Interest::READABLE).map_err(failed)?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        let mut buffer = [0u8; 4096];
        while let Ok(mut ready) = fd.readable().await {
            while rustix::io::read(fd.get_ref(), &mut buffer).is_ok_and(|n| n > 0) {}
            ready.clear_ready();
            sender.send_modify(|count| *count += 1);
            if sender.is_closed() {
                return;
            }
        }
    });
    Ok(receiver)
}
