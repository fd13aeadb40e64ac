//! The engine's file descriptors (pipes, terminals) as streams of the event loop.

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const CHUNK: usize = 16 << 10;

/// The reading end of a pipe or a terminal.
pub(crate) struct Reader(AsyncFd<OwnedFd>);

/// The writing end of a pipe or a terminal.
pub(crate) struct Writer(AsyncFd<OwnedFd>);

impl Reader {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        unblock(&fd)?;
        Ok(Self(register(fd, Interest::READABLE)?))
    }

    /// The next bytes; `None` at the end. A terminal whose other side is closed says EIO, which is its end.
    pub(crate) async fn next(&self) -> io::Result<Option<Bytes>> {
        let mut buffer = BytesMut::zeroed(CHUNK);
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut buffer[..])?)) {
                Ok(Ok(0)) => return Ok(None),
                Ok(Ok(length)) => {
                    buffer.truncate(length);
                    return Ok(Some(buffer.freeze()));
                }
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(None),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }
}

impl Writer {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        unblock(&fd)?;
        Ok(Self(register(fd, Interest::WRITABLE)?))
    }

    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(Ok(written)) => bytes = &bytes[written..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Hands a descriptor to the event loop.
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is the same open descriptor for as long as it lives, and the AsyncFd owns it from here on.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

fn unblock(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    Ok(())
}

/// Everything from both streams, up to `most` bytes; what comes after is read and dropped, so that nobody blocks.
pub(crate) async fn collect(stdout: Option<OwnedFd>, stderr: Option<OwnedFd>, most: usize) -> Vec<u8> {
    let read = |fd: Option<OwnedFd>| async move {
        let mut all = Vec::new();
        let Some(Ok(reader)) = fd.map(Reader::new) else {
            return all;
        };
        while let Ok(Some(bytes)) = reader.next().await {
            let room = most.saturating_sub(all.len());
            all.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        all
    };
    let (mut all, errors) = tokio::join!(read(stdout), read(stderr));
    all.extend_from_slice(&errors);
    all.truncate(most);
    all
}
