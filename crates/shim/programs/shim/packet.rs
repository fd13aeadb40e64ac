//! Messages with descriptors on sequenced-packet sockets.

use crate::sys;
use crate::sys::{EINTR, Result};

/// Most descriptors that come with one message.
pub const FDS: usize = 5;

#[repr(C)]
struct Header {
    name: usize,
    name_len: usize,
    iov: *const [usize; 2],
    iov_len: usize,
    control: usize,
    control_len: usize,
    flags: usize,
}

#[repr(C, align(8))]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; FDS + 1],
}

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;

/// Sends a message and copies of descriptors.
pub fn send(socket: i32, bytes: &[u8], fds: &[i32]) -> Result<()> {
    let mut control = Control { len: 16 + 4 * fds.len(), level: SOL_SOCKET, kind: SCM_RIGHTS, fds: [0; FDS + 1] };
    for (to, from) in control.fds.iter_mut().zip(fds) {
        *to = *from;
    }
    let iov = [bytes.as_ptr() as usize, bytes.len()];
    let (place, len) = if fds.is_empty() { (0, 0) } else { (&raw const control as usize, control.len.next_multiple_of(8)) };
    let header = Header { name: 0, name_len: 0, iov: &raw const iov, iov_len: 1, control: place, control_len: len, flags: 0 };
    sys!(SENDMSG, socket, &raw const header, MSG_NOSIGNAL).map(|_| ())
}

/// A message that came.
pub struct Received {
    /// Its length; 0 at the other side's end.
    pub len: usize,
    /// Its descriptors, -1 where there is none.
    pub fds: [i32; FDS],
}

impl Received {
    /// Closes all descriptors that came along.
    pub fn close(&self) {
        self.fds.iter().filter(|fd| **fd >= 0).for_each(|fd| sys::close(*fd));
    }
}

/// Receives a message.
pub fn receive(socket: i32, bytes: &mut [u8]) -> Result<Received> {
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [-1; FDS + 1] };
    let iov = [bytes.as_mut_ptr() as usize, bytes.len()];
    let header = Header {
        name: 0,
        name_len: 0,
        iov: &raw const iov,
        iov_len: 1,
        control: &raw mut control as usize,
        control_len: 16 + 4 * FDS,
        flags: 0,
    };
    loop {
        match sys!(RECVMSG, socket, &raw const header, MSG_CMSG_CLOEXEC) {
            Err(EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(len) => {
                let mut fds = [-1; FDS];
                if control.kind == SCM_RIGHTS && control.len > 16 {
                    let count = ((control.len - 16) / 4).min(FDS);
                    fds[..count].copy_from_slice(&control.fds[..count]);
                }
                return Ok(Received { len, fds });
            }
        }
    }
}

/// A connected pair of sequenced-packet sockets.
pub fn pair() -> Result<[i32; 2]> {
    let mut pair = [0i32; 2];
    sys!(SOCKETPAIR, 1, 5 | 0o2_000_000, 0, pair.as_mut_ptr())?;
    Ok(pair)
}
