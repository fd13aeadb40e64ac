//! The socket to a shim: sequenced packets with descriptors. Knows the messages' form, not their meaning.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use shim::message::{ANSWER, request};
use tokio::io::unix::AsyncFd;

use crate::Result;
use crate::error::Context;

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: u32,
    pub(crate) a: i32,
    pub(crate) b: u64,
    pub(crate) c: u64,
    pub(crate) fds: Vec<OwnedFd>,
}

/// One connection.
pub(crate) struct Channel {
    fd: AsyncFd<OwnedFd>,
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

impl Channel {
    /// A connection, and its other end for a new shim. That end blocks.
    pub(crate) fn pair() -> Result<(Self, OwnedFd)> {
        let make = || {
            let (ours, theirs) =
                net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            rustix::io::ioctl_fionbio(&ours, true)?;
            rustix::io::Result::Ok((ours, theirs))
        };
        let (ours, theirs) = make().context(|| "make a socket".into())?;
        Ok((Self::of(ours)?, theirs))
    }

    /// Connects to a running shim by its container's directory.
    pub(crate) fn connect(dir: &Path) -> Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let connect = || {
            // A socket's path may have 107 bytes; this one is short however deep the directory lies.
            let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let path = format!("/proc/self/fd/{}/shim.sock", std::os::fd::AsRawFd::as_raw_fd(&dir));
            let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
            net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            rustix::io::Result::Ok(socket)
        };
        Self::of(connect().context(|| format!("connect to the shim in {}", dir.display()))?)
    }

    fn of(fd: OwnedFd) -> Result<Self> {
        // SAFETY: the descriptor is owned, and always answers with the same number, until both are dropped together.
        let fd = unsafe { AsyncFd::register(fd) };
        Ok(Self {
            fd: fd.context(|| "watch a socket".into())?,
        })
    }

    /// Sends a request with descriptors.
    pub(crate) async fn send(&self, kind: u32, a: u32, b: u32, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = request(kind, a, b);
        let sent = self.fd.async_io(tokio::io::Interest::WRITABLE, |fd| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            Ok(net::sendmsg(
                fd.as_fd(),
                &[IoSlice::new(&bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            )?)
        });
        sent.await.map(|_| ()).context(|| "write to the shim".into())
    }

    /// The next answer; `None` when the shim has gone.
    pub(crate) async fn receive(&self) -> Result<Option<Answer>> {
        let received = self.fd.async_io(tokio::io::Interest::READABLE, |fd| {
            let (mut bytes, mut fds) = ([0u8; ANSWER], Vec::new());
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let got = net::recvmsg(fd.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    fds.extend(rights);
                }
            }
            Ok((got.bytes, bytes, fds))
        });
        let (len, bytes, fds) = match received.await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            other => other.context(|| "read from the shim".into())?,
        };
        if len < ANSWER {
            return Ok(None);
        }
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Ok(Some(Answer {
            kind: word(0),
            a: word(4) as i32,
            b: long(8),
            c: long(16),
            fds,
        }))
    }

    /// Sends a request to a running container's shim and waits for its answer.
    pub(crate) async fn ask(&self, kind: u32, a: u32, b: u32, fds: &[BorrowedFd<'_>]) -> Result<Option<Answer>> {
        self.send(kind, a, b, fds).await?;
        self.receive().await
    }
}
