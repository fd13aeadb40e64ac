//! Making, signalling and awaiting processes.

use crate::sys::{EINTR, Result};

pub const SIGKILL: u32 = 9;
const SIGCHLD: u64 = 17;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Splits the process in two; 0 in the new one.
pub fn fork() -> Result<i32> {
    let args = CloneArgs { exit_signal: SIGCHLD, ..CloneArgs::default() };
    sys!(CLONE3, &raw const args, size_of::<CloneArgs>()).map(|pid| pid as i32)
}

/// A child in new namespaces, perhaps in another cgroup. The new process gets `None`.
pub fn clone(flags: u64, cgroup: Option<i32>) -> Result<Option<Child>> {
    let mut pidfd = -1i32;
    let mut args =
        CloneArgs { flags: flags | CLONE_PIDFD, pidfd: &raw mut pidfd as u64, exit_signal: SIGCHLD, ..CloneArgs::default() };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd as u64;
    }
    match sys!(CLONE3, &raw const args, size_of::<CloneArgs>())? {
        0 => Ok(None),
        // SAFETY: the kernel wrote the descriptor before it returned.
        pid => Ok(Some(Child { pid: pid as i32, pidfd: unsafe { (&raw const pidfd).read_volatile() } })),
    }
}

/// A child, by number and descriptor.
#[derive(Clone, Copy)]
pub struct Child {
    pub pid: i32,
    pub pidfd: i32,
}

/// How a child ended.
#[derive(Clone, Copy)]
pub struct Status {
    /// The code, or the signal's number.
    pub value: i32,
    /// Whether a signal ended it.
    pub signalled: bool,
}

impl Child {
    /// Sends a signal.
    pub fn signal(&self, signal: u32) -> Result<()> {
        sys!(PIDFD_SEND_SIGNAL, self.pidfd, signal, 0, 0).map(|_| ())
    }

    /// Waits until it has ended, and forgets it.
    pub fn wait(&self) -> Status {
        const P_PIDFD: usize = 3;
        const WEXITED: usize = 4;
        const CLD_EXITED: i32 = 1;
        // siginfo: code at 8, status at 24.
        let mut info = [0i32; 32];
        loop {
            match sys!(WAITID, P_PIDFD, self.pidfd, info.as_mut_ptr(), WEXITED, 0) {
                Err(EINTR) => {}
                Err(_) => return Status { value: 255, signalled: false },
                Ok(_) => return Status { value: info[6], signalled: info[2] != CLD_EXITED },
            }
        }
    }
}

/// Seconds and nanoseconds since 1970.
pub fn now() -> (u64, u64) {
    let mut time = [0u64; 2];
    let _ = sys!(CLOCK_GETTIME, 0, time.as_mut_ptr());
    (time[0], time[1])
}
