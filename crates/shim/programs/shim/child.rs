//! The new process: carries out records one by one, until its program takes its place. Never returns.

use crate::message::{self, FAILED, PARKED, WITHHELD, answer};
use crate::packet::{self, FDS};
use crate::plan::{Op, Plan, Record, Records};
use crate::root::Root;
use crate::sys::{self, EACCES, EINVAL, ENOENT, EPERM, Errno, Result, exit};
use crate::{failpoint, files};

/// What the process has to work with.
pub struct Work {
    /// `HOME=` and the user's directory, if it was asked for.
    pub home: Option<&'static [u8]>,
    /// To the shim.
    pub socket: i32,
    /// The plan, the program's three streams, the process whose namespaces are to be joined.
    pub fds: [i32; FDS],
}

const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_KEEPCAPS: usize = 8;
const PR_CAPBSET_READ: usize = 23;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_CAP_AMBIENT: usize = 47;

/// Carries out a plan's records.
pub fn work(mut work: Work, records: Records<'_>) -> ! {
    let mut root = Root::default();
    for (step, record) in records.enumerate() {
        let outcome = failpoint::hit(b"init.step").and(match record {
            None => Err(EINVAL),
            Some(Record { op: Op::Await, .. }) => await_plan(work.socket, &mut work.fds),
            Some(Record { op: Op::Home, .. }) => {
                work.home = home(record.map_or(0, |record| record.arg(0)));
                Ok(())
            }
            Some(record) => one(&record, &work, &mut root),
        });
        if let Err(errno) = outcome {
            let _ = packet::send(work.socket, &answer(FAILED, errno.0, 1, step as u64), &[]);
            exit(127);
        }
        if let Some(Record { op: Op::Await, .. }) = record {
            resume(work);
        }
    }
    let _ = packet::send(work.socket, &answer(FAILED, EINVAL.0, 1, u64::MAX), &[]);
    exit(127)
}

/// Says that all is ready and waits for the rest.
fn await_plan(socket: i32, fds: &mut [i32; FDS]) -> Result<()> {
    packet::send(socket, &answer(PARKED, 0, 0, 0), &[])?;
    let received = packet::receive(socket, &mut [0u8; 8])?;
    if received.len == 0 {
        exit(0);
    }
    *fds = received.fds;
    Ok(())
}

/// Carries out the plan that came after waiting.
fn resume(work_: Work) -> ! {
    let mut stat = [0u64; 18];
    let mapped = sys!(FSTAT, work_.fds[0], stat.as_mut_ptr())
        .and_then(|_| sys!(MMAP, 0, stat[6], 1, 2, work_.fds[0], 0))
        // SAFETY: the kernel mapped that many bytes; they stay until this process is another program.
        .map(|at| unsafe { core::slice::from_raw_parts(at as *const u8, stat[6] as usize) });
    match mapped.ok().and_then(Plan::parse) {
        Some(plan) => work(work_, plan.child),
        None => {
            let _ = packet::send(work_.socket, &answer(FAILED, EINVAL.0, 1, 0), &[]);
            exit(127)
        }
    }
}

fn one(record: &Record<'_>, work: &Work, root: &mut Root) -> Result<()> {
    let (a, s) = (|index| record.arg(index) as usize, |index| record.str(index));
    match record.op {
        Op::Setns => setns(s(0), a(0)),
        Op::SetnsFd => done(sys!(SETNS, work.fds[4], a(0))),
        Op::Unshare => done(sys!(UNSHARE, a(0))),
        Op::WriteFile => write_file(record),
        Op::OomScore => oom_score(record, work.socket),
        Op::Setsid => done(sys!(SETSID)),
        Op::Hostname => done(sys!(SETHOSTNAME, s(0).as_ptr(), s(0).len() - 1)),
        Op::Domainname => done(sys!(SETDOMAINNAME, s(0).as_ptr(), s(0).len() - 1)),
        Op::Umask => done(sys!(UMASK, a(0))),
        Op::Chdir => done(sys!(CHDIR, s(0).as_ptr())),
        Op::Terminal => terminal(record, work),
        Op::Stdio => stdio(&[work.fds[1], work.fds[2], work.fds[3]], a(0)),
        Op::CloseFds => done(sys!(CLOSE_RANGE, 3, u32::MAX, 4)),
        Op::DieWithParent => done(sys!(PRCTL, PR_SET_PDEATHSIG, a(0), 0, 0, 0)),
        Op::ResetSignals => reset_signals(),
        Op::Exec => exec(record, work.home),
        Op::Rlimit | Op::Groups | Op::User | Op::Bounding | Op::KeepCaps | Op::Caps | Op::Ambient | Op::NoNewPrivs
        | Op::Seccomp => privileges(record, work.socket),
        _ => root.one(record),
    }
}

fn privileges(record: &Record<'_>, shim: i32) -> Result<()> {
    let a = |index| record.arg(index) as usize;
    match record.op {
        Op::Rlimit => {
            let limits = [record.arg(1), record.arg(2)];
            // Raising a hard limit needs a privilege that the host may withhold; the process then keeps what it has.
            match sys!(PRLIMIT64, 0, a(0), limits.as_ptr(), 0) {
                Err(EPERM) => withheld(shim, message::LIMITS),
                other => done(other),
            }
        }
        Op::Groups => {
            let mut groups = [0u32; 256];
            let count = record.args().min(groups.len());
            (0..count).for_each(|at| groups[at] = a(at) as u32);
            done(sys!(SETGROUPS, count, groups.as_ptr()))
        }
        Op::User => {
            sys!(SETRESGID, a(1), a(1), a(1))?;
            done(sys!(SETRESUID, a(0), a(0), a(0)))
        }
        Op::Bounding => (0..64usize)
            .take_while(|cap| sys!(PRCTL, PR_CAPBSET_READ, *cap, 0, 0, 0).is_ok())
            .filter(|cap| a(0) >> cap & 1 == 0)
            .try_for_each(|cap| done(sys!(PRCTL, PR_CAPBSET_DROP, cap, 0, 0, 0))),
        Op::KeepCaps => done(sys!(PRCTL, PR_SET_KEEPCAPS, a(0), 0, 0, 0)),
        Op::Caps => {
            let header = [0x2008_0522u32, 0];
            let [e, p, i] = [record.arg(0), record.arg(1), record.arg(2)];
            let data = [e as u32, p as u32, i as u32, (e >> 32) as u32, (p >> 32) as u32, (i >> 32) as u32];
            done(sys!(CAPSET, header.as_ptr(), data.as_ptr()))
        }
        Op::Ambient => (0..64usize)
            .filter(|cap| a(0) >> cap & 1 == 1)
            .try_for_each(|cap| done(sys!(PRCTL, PR_CAP_AMBIENT, 2, cap, 0, 0))),
        Op::NoNewPrivs => done(sys!(PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
        Op::Seccomp => {
            let instructions = &record.arg_bytes()[8..];
            let program = [instructions.len() / 8, instructions.as_ptr() as usize];
            done(sys!(SECCOMP, 1, a(0), program.as_ptr()))
        }
        _ => Err(EINVAL),
    }
}

/// Best effort: the process starts without, and whoever asked for it is told.
fn withheld(shim: i32, what: u32) -> Result<()> {
    packet::send(shim, &answer(WITHHELD, what as i32, 0, 0), &[])
}

fn oom_score(record: &Record<'_>, shim: i32) -> Result<()> {
    let score = record.str(0);
    // Lowering needs a privilege that the host may withhold.
    match files::write(b"/proc/self/oom_score_adj\0", &score[..score.len() - 1], false) {
        Err(EACCES | EPERM) => withheld(shim, message::OOM_SCORE),
        other => other,
    }
}

fn done(result: Result<usize>) -> Result<()> {
    result.map(|_| ())
}

fn setns(path: &[u8], kind: usize) -> Result<()> {
    let fd = files::open(path, 0, 0)?;
    let result = sys!(SETNS, fd, kind);
    sys::close(fd);
    done(result)
}

fn write_file(record: &Record<'_>) -> Result<()> {
    let content = record.str(1);
    let result = files::write(record.str(0), &content[..content.len() - 1], false);
    if record.arg(0) == 1 { Ok(()) } else { result }
}

/// Puts descriptors at 0, 1 and 2, and gives what they stand for to the user, who may want to open them again.
fn stdio(fds: &[i32; 3], uid: usize) -> Result<()> {
    for (to, from) in fds.iter().enumerate() {
        let mut stat = [0u64; 18];
        sys!(FSTAT, *from, stat.as_mut_ptr())?;
        // A device, such as /dev/null, belongs to everybody. st_mode stands in the fourth word (x86_64) or third.
        let mode = if cfg!(target_arch = "x86_64") { stat[3] } else { stat[2] } as u32;
        if uid != 0 && mode & 0o170_000 != 0o020_000 {
            let _ = sys!(FCHOWN, *from, uid, -1isize);
        }
        sys!(DUP3, *from, to, 0)?;
    }
    Ok(())
}

/// Opens a terminal in the container's own devpts, keeps its far end and hands the near one to the shim.
fn terminal(record: &Record<'_>, work: &Work) -> Result<()> {
    const TIOCSCTTY: usize = 0x540e;
    const TIOCSWINSZ: usize = 0x5414;
    const TIOCSPTLCK: usize = 0x4004_5431;
    const TIOCGPTPEER: usize = 0x5441;
    const O_NOCTTY: usize = 0o400;
    let near = files::open(b"/dev/ptmx\0", files::O_RDWR | O_NOCTTY, 0)?;
    let unlocked = 0i32;
    sys!(IOCTL, near, TIOCSPTLCK, &raw const unlocked)?;
    let far = sys!(IOCTL, near, TIOCGPTPEER, files::O_RDWR | O_NOCTTY)? as i32;
    let (rows, cols) = (record.arg(0) as u16, record.arg(1) as u16);
    if rows > 0 && cols > 0 {
        let size = [rows, cols, 0, 0];
        sys!(IOCTL, near, TIOCSWINSZ, size.as_ptr())?;
    }
    packet::send(work.socket, &answer(u32::MAX, 0, 0, 0), &[near])?;
    sys::close(near);
    sys!(IOCTL, far, TIOCSCTTY, 0)?;
    let _ = sys!(FCHOWN, far, record.arg(2), -1isize);
    for to in 0..3 {
        sys!(DUP3, far, to, 0)?;
    }
    sys::close(far);
    Ok(())
}

fn reset_signals() -> Result<()> {
    let default = [0u64; 4];
    for signal in (1..=64usize).filter(|signal| !matches!(signal, 9 | 19)) {
        let _ = sys!(SIGACTION, signal, default.as_ptr(), 0, 8);
    }
    let none = 0u64;
    done(sys!(SIGPROCMASK, 2, &raw const none, 0, 8))
}

/// Runs the program, looked for in PATH as execvp(3) does.
fn exec(record: &Record<'_>, home: Option<&[u8]>) -> Result<()> {
    let argc = record.arg(0) as usize;
    let strings = record.str_bytes();
    // Pointers to all strings, with a null after the arguments and one at the end.
    let bytes = (record.count as usize + 3) * 8;
    let at = sys!(MMAP, 0, bytes, 3, 0x22, -1isize, 0)?;
    // SAFETY: freshly mapped, aligned to a page and zeroed.
    let pointers = unsafe { core::slice::from_raw_parts_mut(at as *mut usize, record.count as usize + 3) };
    let (mut offset, mut path) = (0, &b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"[..]);
    for index in 0..record.count as usize {
        let text = strings.get(offset..).ok_or(EINVAL)?;
        let len = text.iter().position(|byte| *byte == 0).ok_or(EINVAL)?;
        pointers[if index < argc { index } else { index + 1 }] = text.as_ptr() as usize;
        if index >= argc && text.starts_with(b"PATH=") {
            path = &text[5..len];
        }
        offset += len + 1;
    }
    if let Some(home) = home {
        pointers[record.count as usize + 1] = home.as_ptr() as usize;
    }
    let (argv, envp) = (pointers.as_ptr(), pointers[argc + 1..].as_ptr());
    let program = record.str(0);
    if program.contains(&b'/') {
        return done(sys!(EXECVE, program.as_ptr(), argv, envp));
    }
    let mut answer = ENOENT;
    for dir in path.split(|byte| *byte == b':') {
        let mut full = crate::cri::Text::<4096>::default();
        full.put(if dir.is_empty() { b"." } else { dir }).put(b"/").put(&program[..program.len() - 1]);
        let Err(errno) = sys!(EXECVE, full.c_str().as_ptr(), argv, envp) else { continue };
        const EACCES: Errno = Errno(13);
        const ENOTDIR: Errno = Errno(20);
        match errno {
            ENOENT | ENOTDIR => {}
            EACCES | EPERM => answer = EACCES,
            other => return Err(other),
        }
    }
    Err(answer)
}

/// `HOME=` and the user's directory as the container's /etc/passwd has it, or `/`.
fn home(uid: u64) -> Option<&'static [u8]> {
    static mut FILE: [u8; 32 * 1024] = [0; 32 * 1024];
    static mut HOME: crate::cri::Text<1024> = crate::cri::Text::new();
    // SAFETY: the process has one thread, and comes here once.
    let (file, text) = unsafe { (&mut *(&raw mut FILE), &mut *(&raw mut HOME)) };
    let file = files::read(b"/etc/passwd\0", file).unwrap_or(b"");
    let entry = file.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let id = fields.nth(2)?;
        let number = id.iter().try_fold(0u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')));
        (number == Some(uid) && !id.is_empty()).then_some(fields.nth(2)?)
    });
    let dir = entry.filter(|dir| !dir.is_empty()).unwrap_or(b"/");
    text.put(b"HOME=").put(dir);
    Some(text.c_str())
}
