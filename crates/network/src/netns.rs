//! Other network namespaces: a socket opened there works there, whichever thread uses it later.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::Socket;

/// A route socket of the namespace that `namespace` refers to.
pub(crate) fn route_socket(namespace: &File) -> io::Result<Socket> {
    // A thread of its own, which ends right after: none that does other work is ever in a foreign namespace.
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Socket::open(libc::NETLINK_ROUTE)
        });
        opener
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that enters the namespace died")))
    })
}

/// Opens a namespace file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}
