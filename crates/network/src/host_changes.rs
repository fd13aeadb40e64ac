//! Word from the kernel that the host's links, addresses or routes changed, so that the ways to other nodes can be
//! looked at anew. Changes of our own are left out. It acts on nothing.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};

use crate::config::InstanceId;
use crate::link::{self, ROUTE_PROTOCOL};
use crate::netlink::{Received, Socket};

const LINKS: u32 = 1;
const ADDRESSES: u32 = 0x10;
const ROUTES: u32 = 0x40;

/// A socket that is readable when something has changed.
pub struct HostChanges {
    socket: Socket,
    own_prefix: String,
}

impl HostChanges {
    /// Begins to listen, in the network namespace of the calling thread.
    pub fn open(instance: &InstanceId) -> io::Result<HostChanges> {
        Ok(HostChanges {
            socket: Socket::listen(libc::NETLINK_ROUTE, LINKS | ADDRESSES | ROUTES)?,
            own_prefix: format!("g{instance}"),
        })
    }

    /// Takes all that was said so far, without waiting; true when the host's network is another one since.
    pub fn take(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match self.socket.try_receive() {
                Ok(messages) => changed |= messages.iter().any(|message| self.matters(message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                // More was said than the kernel keeps: something will have changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn matters(&self, message: &Received) -> bool {
        match message.kind {
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE => message.body.get(5) != Some(&ROUTE_PROTOCOL),
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                !link::name_of(&message.body).is_some_and(|name| name.starts_with(&self.own_prefix))
            }
            _ => true,
        }
    }
}

impl AsRawFd for HostChanges {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}
