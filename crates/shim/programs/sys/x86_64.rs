//! Entry, system call and numbers on x86_64.

use core::arch::{asm, global_asm};

global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call {main}",
    "ud2",
    main = sym crate::entry,
    options(att_syntax)
);

/// One system call; the kernel's answer as it is.
///
/// # Safety
/// What the call does with its arguments is the caller's business.
#[inline(always)]
pub unsafe fn syscall(nr: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel clobbers rcx and r11 alone.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[rustfmt::skip]
pub mod nr {
    //! Numbers of the calls that are used.
    #![allow(missing_docs)]
    pub const READ: usize = 0; pub const WRITE: usize = 1; pub const CLOSE: usize = 3; pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11; pub const SIGACTION: usize = 13; pub const SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16; pub const GETPID: usize = 39; pub const SOCKET: usize = 41; pub const ACCEPT4: usize = 288;
    pub const SENDMSG: usize = 46; pub const RECVMSG: usize = 47; pub const BIND: usize = 49; pub const LISTEN: usize = 50;
    pub const SHUTDOWN: usize = 48; pub const SOCKETPAIR: usize = 53; pub const SETSOCKOPT: usize = 54;
    pub const EXECVE: usize = 59; pub const WAIT4: usize = 61; pub const KILL: usize = 62; pub const UNAME: usize = 63;
    pub const FCNTL: usize = 72; pub const GETCWD: usize = 79; pub const FCHDIR: usize = 81; pub const CHDIR: usize = 80;
    pub const GETRLIMIT: usize = 97; pub const UMASK: usize = 95; pub const GETUID: usize = 102; pub const GETGID: usize = 104;
    pub const SETSID: usize = 112; pub const SETGROUPS: usize = 116; pub const SETRESUID: usize = 117;
    pub const SETRESGID: usize = 119; pub const GETGROUPS: usize = 115; pub const CAPGET: usize = 125; pub const CAPSET: usize = 126;
    pub const FSTAT: usize = 5; pub const FCHOWN: usize = 93; pub const PIVOT_ROOT: usize = 155; pub const PRCTL: usize = 157;
    pub const MOUNT: usize = 165; pub const UMOUNT2: usize = 166; pub const SETHOSTNAME: usize = 170;
    pub const SETDOMAINNAME: usize = 171; pub const GETDENTS64: usize = 217; pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231; pub const EPOLL_CTL: usize = 233; pub const WAITID: usize = 247;
    pub const OPENAT: usize = 257; pub const MKDIRAT: usize = 258; pub const MKNODAT: usize = 259; pub const FCHOWNAT: usize = 260;
    pub const NEWFSTATAT: usize = 262; pub const UNLINKAT: usize = 263; pub const RENAMEAT: usize = 264;
    pub const SYMLINKAT: usize = 266; pub const READLINKAT: usize = 267; pub const FCHMODAT: usize = 268;
    pub const FACCESSAT: usize = 269; pub const PPOLL: usize = 271; pub const UNSHARE: usize = 272; pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293; pub const PRLIMIT64: usize = 302; pub const SETNS: usize = 308; pub const SECCOMP: usize = 317;
    pub const PIDFD_SEND_SIGNAL: usize = 424; pub const OPEN_TREE: usize = 428; pub const MOVE_MOUNT: usize = 429;
    pub const FSOPEN: usize = 430; pub const FSCONFIG: usize = 431; pub const FSMOUNT: usize = 432; pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436; pub const OPENAT2: usize = 437; pub const MOUNT_SETATTR: usize = 442;
    pub const NANOSLEEP: usize = 35; pub const EPOLL_CREATE1: usize = 291; pub const EPOLL_PWAIT: usize = 281;
    pub const SIGNALFD4: usize = 289; pub const SCHED_GETAFFINITY: usize = 204;
    pub const WRITEV: usize = 20;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const PREAD64: usize = 17;
}
