//! For tests: a container's program that tells what it finds about itself, and does a few things on demand.
//!
//! `report` prints everything as lines; `report exit N [MS]` (after so many milliseconds), `report sleep MS`, `report print TEXT...`, `report cat` (input to
//! output), `report lines N MS` (a numbered line each so many milliseconds), `report touch BYTES` (uses memory), `report
//! sizes` (the terminal's size), `report kill N` (a signal to itself), `report stop` (until SIGTERM, then exits 7), `report
//! clock` (the monotonic clock's nanoseconds at the first instruction), `report udp PORT` (answers datagrams).
#![no_std]
#![no_main]
#![allow(dead_code, reason = "shares its system calls with other programs")]

#[macro_use]
#[path = "sys/mod.rs"]
mod sys;
#[path = "../src/cri.rs"]
mod cri;

use cri::Text;
use sys::{Start, exit};

const AT_FDCWD: isize = -100;

extern "C" fn entry(stack: *const usize) -> ! {
    let mut began = [0u64; 2];
    let _ = sys!(CLOCK_GETTIME, 1, began.as_mut_ptr());
    // SAFETY: this is the program's entry.
    let start = unsafe { Start::new(stack) };
    match start.arg(1) {
        b"" => everything(start),
        b"exit" => {
            sleep(number(start.arg(3)));
            exit(number(start.arg(2)) as i32)
        }
        b"sleep" => sleep(number(start.arg(2))),
        b"print" => (2..start.argc()).for_each(|at| out(start.arg(at))),
        b"error" => drop(sys::write(2, start.arg(2))),
        b"cat" => cat(0),
        b"file" => file(start.arg(2)),
        b"lines" => lines(number(start.arg(2)), number(start.arg(3))),
        b"touch" => touch(number(start.arg(2))),
        b"sizes" => sizes(),
        b"kill" => drop(sys!(KILL, sys!(GETPID).unwrap_or(0), number(start.arg(2)))),
        b"stop" => stop(),
        b"udp" => udp(number(start.arg(2)) as u16),
        b"clock" => put(|text| drop(text.number(began[0] * 1_000_000_000 + began[1]).put(b"\n"))),
        _ => exit(99),
    }
    exit(0)
}

fn out(bytes: &[u8]) {
    let _ = sys::write(1, bytes);
}

fn put(fill: impl FnOnce(&mut Text<512>)) {
    let mut text = Text::default();
    fill(&mut text);
    out(text.bytes());
}

fn number(text: &[u8]) -> u64 {
    text.iter().filter(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}

fn sleep(ms: u64) {
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    let _ = sys!(NANOSLEEP, &raw const time, 0);
}

fn cat(from: i32) {
    let mut buffer = [0u8; 4096];
    while let Ok(len @ 1..) = sys::read(from, &mut buffer) {
        out(&buffer[..len]);
    }
}

/// Prints a file; the path is an argument and so ends with NUL.
fn file(path: &[u8]) {
    match sys!(OPENAT, AT_FDCWD, path.as_ptr(), 0, 0) {
        Ok(fd) => {
            cat(fd as i32);
            sys::close(fd as i32);
        }
        Err(errno) => put(|text| drop(text.put(b"errno ").number(errno.0 as u64).put(b"\n"))),
    }
}

fn lines(count: u64, ms: u64) {
    for line in 1..=count {
        put(|text| drop(text.put(b"line ").number(line).put(b"\n")));
        sleep(ms);
    }
}

fn touch(bytes: u64) {
    let Ok(at) = sys!(MMAP, 0, bytes, 3, 0x22, -1isize, 0) else { exit(98) };
    for page in (0..bytes as usize).step_by(4096) {
        // SAFETY: inside of what was just mapped.
        unsafe { ((at + page) as *mut u8).write_volatile(1) };
    }
}

fn sizes() {
    let mut size = [0u16; 4];
    let answer = sys!(IOCTL, 0, 0x5413, size.as_mut_ptr());
    put(|text| match answer {
        Ok(_) => drop(text.number(size[0].into()).put(b"x").number(size[1].into()).put(b"\n")),
        Err(errno) => drop(text.put(b"errno ").number(errno.0 as u64).put(b"\n")),
    });
}

fn stop() {
    let set = 1u64 << 14;
    let _ = sys!(SIGPROCMASK, 0, &raw const set, 0, 8);
    let Ok(signals) = sys!(SIGNALFD4, -1isize, &raw const set, 8, 0) else { exit(97) };
    out(b"ready\n");
    let _ = sys::read(signals as i32, &mut [0u8; 128]);
    exit(7)
}

/// Answers each datagram with this host's name and the address that it came from, filled up to the datagram's length.
fn udp(port: u16) {
    let mut own = [0u8; 16];
    own[..2].copy_from_slice(&2u16.to_ne_bytes());
    own[2..4].copy_from_slice(&port.to_be_bytes());
    let Ok(socket) = sys!(SOCKET, 2, 2 | 0o2_000_000, 0) else { exit(96) };
    if sys!(BIND, socket, own.as_ptr(), own.len()).is_err() {
        exit(95)
    }
    let mut name = [0u8; 390];
    let _ = sys!(UNAME, name.as_mut_ptr());
    let host = &name[65..130];
    let host = &host[..host.iter().position(|byte| *byte == 0).unwrap_or(64)];
    out(b"ready\n");
    let mut datagram = [0u8; 8192];
    loop {
        let (mut from, mut size) = ([0u8; 16], 16u32);
        let Ok(length) = sys!(RECVFROM, socket, datagram.as_mut_ptr(), datagram.len(), 0, from.as_mut_ptr(), &raw mut size)
        else {
            continue;
        };
        let mut text = Text::<128>::default();
        text.put(host).put(b" ").number(from[4].into());
        from[5..8].iter().for_each(|byte| drop(text.put(b".").number((*byte).into())));
        text.put(b"\n");
        let text = text.bytes();
        datagram[..text.len()].copy_from_slice(text);
        let _ = sys!(SENDTO, socket, datagram.as_ptr(), length.max(text.len()), 0, from.as_ptr(), 16);
    }
}

fn section(name: &[u8]) {
    put(|text| drop(text.put(b"== ").put(name).put(b"\n")));
}

fn everything(start: Start) {
    section(b"args");
    for at in 0..start.argc() {
        put(|text| drop(text.put(start.arg(at)).put(b"\n")));
    }
    section(b"env");
    let mut at = start.envp();
    // SAFETY: the array ends with a null.
    while let entry = unsafe { *at }
        && !entry.is_null()
    {
        // SAFETY: entries are strings, and there is one more, or the null.
        unsafe {
            put(|text| drop(text.put(sys::text(entry)).put(b"\n")));
            at = at.add(1);
        }
    }
    section(b"cwd");
    let mut cwd = [0u8; 512];
    let len = sys!(GETCWD, cwd.as_mut_ptr(), cwd.len()).unwrap_or(1);
    put(|text| drop(text.put(&cwd[..len - 1]).put(b"\n")));
    for path in [
        &b"/proc/self/status\0"[..], b"/proc/self/limits\0", b"/proc/self/mountinfo\0", b"/proc/self/cgroup\0",
        b"/proc/self/oom_score_adj\0", b"/proc/sys/kernel/hostname\0",
    ] {
        section(&path[..path.len() - 1]);
        file(path);
    }
    for path in [
        &b"/sys/fs/cgroup/memory/memory.limit_in_bytes\0"[..],
        b"/sys/fs/cgroup/pids/pids.max\0",
        b"/sys/fs/cgroup/cpu/cpu.shares\0",
        b"/sys/fs/cgroup/cpu/cpu.cfs_quota_us\0",
        b"/sys/fs/cgroup/cpuset/cpuset.cpus\0",
        b"/sys/fs/cgroup/devices/devices.list\0",
    ] {
        section(&path[..path.len() - 1]);
        file(path);
    }
    section(b"namespaces");
    for name in [&b"/proc/self/ns/net\0"[..], b"/proc/self/ns/ipc\0", b"/proc/self/ns/uts\0", b"/proc/self/ns/pid\0",
        b"/proc/self/ns/mnt\0", b"/proc/self/ns/cgroup\0", b"/proc/self/ns/user\0"]
    {
        link(name);
    }
    section(b"descriptors");
    (0..20u64).for_each(|fd| {
        let mut path = Text::<64>::default();
        path.put(b"/proc/self/fd/").number(fd);
        let mut target = [0u8; 256];
        if sys!(READLINKAT, AT_FDCWD, path.c_str().as_ptr(), target.as_mut_ptr(), target.len()).is_ok() {
            put(|text| drop(text.number(fd).put(b"\n")));
        }
    });
    probes();
}

fn link(path: &[u8]) {
    let mut target = [0u8; 256];
    let len = sys!(READLINKAT, AT_FDCWD, path.as_ptr(), target.as_mut_ptr(), target.len()).unwrap_or(0);
    put(|text| drop(text.put(&path[..path.len() - 1]).put(b" ").put(&target[..len]).put(b"\n")));
}

/// What can be done: each line is a name and the kernel's answer.
fn probes() {
    section(b"probes");
    let answer = |name: &[u8], result: sys::Result<usize>| {
        let errno = result.err().map_or(0, |errno| errno.0 as u64);
        put(|text| drop(text.put(name).put(b" ").number(errno).put(b"\n")));
    };
    let open = |path: &[u8], flags: usize| sys!(OPENAT, AT_FDCWD, path.as_ptr(), flags | 0o2_000_000, 0o600);
    answer(b"write /", open(b"/written\0", 0o101));
    answer(b"write /proc/sys", open(b"/proc/sys/kernel/hostname\0", 1));
    answer(b"read /proc/kcore", open(b"/proc/kcore\0", 0).and_then(|fd| sys::read(fd as i32, &mut [0u8; 8])));
    answer(b"list /sys/firmware", open(b"/sys/firmware\0", 0).and_then(|fd| sys!(GETDENTS64, fd, [0u8; 512].as_mut_ptr(), 512)));
    answer(b"write /sys", open(b"/sys/kernel/mm/transparent_hugepage/enabled\0", 1));
    for path in [&b"/dev/null\0"[..], b"/dev/zero\0", b"/dev/full\0", b"/dev/random\0", b"/dev/urandom\0", b"/dev/tty\0",
        b"/dev/ptmx\0", b"/dev/stdout\0", b"/dev/fd\0", b"/dev/mqueue\0", b"/dev/console\0"]
    {
        answer(&path[..path.len() - 1], sys!(FACCESSAT, AT_FDCWD, path.as_ptr(), 6));
    }
    answer(b"unshare mount", sys!(UNSHARE, 0x2_0000));
    answer(b"mount tmpfs", sys!(MOUNT, c"x".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, 0));
    answer(b"sethostname", sys!(SETHOSTNAME, c"x".as_ptr(), 0));
    answer(b"packet socket", sys!(SOCKET, 17, 3, 0));
    answer(b"vsock", sys!(SOCKET, 40, 1, 0));
    answer(b"tcp socket", sys!(SOCKET, 2, 1, 0));
    answer(b"mknod disk", sys!(MKNODAT, AT_FDCWD, c"/dev/disk".as_ptr(), 0o060_600, 7 << 8));
    answer(b"open disk", open(b"/dev/disk\0", 0));
    answer(b"clone3", sys!(CLONE3, 0, 0));
}
