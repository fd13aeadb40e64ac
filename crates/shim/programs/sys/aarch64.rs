//! Entry, system call and numbers on aarch64.

use core::arch::{asm, global_asm};

global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "mov x0, sp", "bl {main}", "brk #1", main = sym crate::entry);

/// One system call; the kernel's answer as it is.
///
/// # Safety
/// What the call does with its arguments is the caller's business.
#[inline(always)]
pub unsafe fn syscall(nr: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0.
    unsafe {
        asm!("svc #0", in("x8") nr, inlateout("x0") a[0] as isize => result, in("x1") a[1], in("x2") a[2],
            in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

#[rustfmt::skip]
pub mod nr {
    //! Numbers of the calls that are used.
    #![allow(missing_docs)]
    pub const READ: usize = 63; pub const WRITE: usize = 64; pub const CLOSE: usize = 57; pub const MMAP: usize = 222;
    pub const MUNMAP: usize = 215; pub const SIGACTION: usize = 134; pub const SIGPROCMASK: usize = 135;
    pub const IOCTL: usize = 29; pub const GETPID: usize = 172; pub const SOCKET: usize = 198; pub const ACCEPT4: usize = 242;
    pub const SENDMSG: usize = 211; pub const RECVMSG: usize = 212; pub const BIND: usize = 200; pub const LISTEN: usize = 201;
    pub const SHUTDOWN: usize = 210; pub const SOCKETPAIR: usize = 199; pub const SETSOCKOPT: usize = 208;
    pub const EXECVE: usize = 221; pub const WAIT4: usize = 260; pub const KILL: usize = 129; pub const UNAME: usize = 160;
    pub const FCNTL: usize = 25; pub const GETCWD: usize = 17; pub const FCHDIR: usize = 50; pub const CHDIR: usize = 49;
    pub const GETRLIMIT: usize = 163; pub const UMASK: usize = 166; pub const GETUID: usize = 174; pub const GETGID: usize = 176;
    pub const SETSID: usize = 157; pub const SETGROUPS: usize = 159; pub const SETRESUID: usize = 147;
    pub const SETRESGID: usize = 149; pub const GETGROUPS: usize = 158; pub const CAPGET: usize = 90; pub const CAPSET: usize = 91;
    pub const FSTAT: usize = 80; pub const FCHOWN: usize = 55; pub const PIVOT_ROOT: usize = 41; pub const PRCTL: usize = 167;
    pub const MOUNT: usize = 40; pub const UMOUNT2: usize = 39; pub const SETHOSTNAME: usize = 161;
    pub const SETDOMAINNAME: usize = 162; pub const GETDENTS64: usize = 61; pub const CLOCK_GETTIME: usize = 113;
    pub const EXIT_GROUP: usize = 94; pub const EPOLL_CTL: usize = 21; pub const WAITID: usize = 95;
    pub const OPENAT: usize = 56; pub const MKDIRAT: usize = 34; pub const MKNODAT: usize = 33; pub const FCHOWNAT: usize = 54;
    pub const NEWFSTATAT: usize = 79; pub const UNLINKAT: usize = 35; pub const RENAMEAT: usize = 38;
    pub const SYMLINKAT: usize = 36; pub const READLINKAT: usize = 78; pub const FCHMODAT: usize = 53;
    pub const FACCESSAT: usize = 48; pub const PPOLL: usize = 73; pub const UNSHARE: usize = 97; pub const DUP3: usize = 24;
    pub const PIPE2: usize = 59; pub const PRLIMIT64: usize = 261; pub const SETNS: usize = 268; pub const SECCOMP: usize = 277;
    pub const PIDFD_SEND_SIGNAL: usize = 424; pub const OPEN_TREE: usize = 428; pub const MOVE_MOUNT: usize = 429;
    pub const FSOPEN: usize = 430; pub const FSCONFIG: usize = 431; pub const FSMOUNT: usize = 432; pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436; pub const OPENAT2: usize = 437; pub const MOUNT_SETATTR: usize = 442;
    pub const NANOSLEEP: usize = 101; pub const EPOLL_CREATE1: usize = 20; pub const EPOLL_PWAIT: usize = 22;
    pub const SIGNALFD4: usize = 74; pub const SCHED_GETAFFINITY: usize = 123;
    pub const WRITEV: usize = 66;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const PREAD64: usize = 67;
}
