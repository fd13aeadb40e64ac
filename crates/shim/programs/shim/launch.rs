//! From the first message until the program runs: at most one child is parked, then run.

use crate::child::{self, Work};
use crate::cri::Text;
use crate::message::{self, ANSWER, FAILED, PARK, PARKED, REQUEST, RUN, answer};
use crate::packet::{self, FDS, Received};
use crate::plan::{Op, Plan, Record};
use crate::process::{self, Child, SIGKILL};
use crate::supervise::{self, Streams};
use crate::sys::{self, EINVAL, Errno, Result, exit};
use crate::{CONTROL, failpoint, files};

/// A child that carries out plans, and the socket to it.
struct Worker {
    child: Child,
    socket: i32,
}

/// Why a start failed: which step, and the kernel's answer.
struct Failure {
    errno: i32,
    inside: bool,
    step: u64,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno: errno.0, inside: false, step: 0 }
    }
}

/// Serves the engine until the program runs and has ended, or nobody wants it any more.
pub fn serve() -> ! {
    let mut parked = None;
    loop {
        let mut request = [0u8; REQUEST];
        let received = packet::receive(CONTROL, &mut request);
        let Ok(received) = received else { abandon(parked) };
        if received.len != REQUEST {
            abandon(parked);
        }
        let kind = u32::from_ne_bytes([request[0], request[1], request[2], request[3]]);
        let outcome = match kind {
            PARK => park(&received).map(|worker| {
                parked = Some(worker);
                let _ = packet::send(CONTROL, &answer(PARKED, 0, 0, 0), &[]);
            }),
            RUN => run(&received, parked.take()),
            _ => Err(Failure::from(EINVAL)),
        };
        received.close();
        if let Err(failure) = outcome {
            let text = answer(FAILED, failure.errno, u64::from(failure.inside), failure.step);
            let _ = packet::send(CONTROL, &text, &[]);
            exit(1);
        }
    }
}

/// The engine is gone, and nothing was started.
fn abandon(parked: Option<Worker>) -> ! {
    if let Some(worker) = parked {
        let _ = worker.child.signal(SIGKILL);
        worker.child.wait();
    }
    exit(0)
}

/// A plan in memory, for as long as it is needed.
struct Mapped(&'static [u8]);

impl Mapped {
    fn new(fd: i32) -> Result<Self> {
        let mut stat = [0u64; 18];
        sys!(FSTAT, fd, stat.as_mut_ptr())?;
        let len = stat[6] as usize;
        let at = sys!(MMAP, 0, len, 1, 2, fd, 0)?;
        // SAFETY: the kernel mapped `len` bytes there, privately; the engine does not change them any more.
        Ok(Self(unsafe { core::slice::from_raw_parts(at as *const u8, len) }))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = sys!(MUNMAP, self.0.as_ptr(), self.0.len());
    }
}

fn park(received: &Received) -> core::result::Result<Worker, Failure> {
    failpoint::hit(b"shim.park")?;
    let mapped = Mapped::new(received.fds[0])?;
    let plan = Plan::parse(mapped.0).ok_or(EINVAL)?;
    let worker = hire(&plan, received.fds)?;
    match report(&worker)? {
        Report::Parked => Ok(worker),
        Report::Failed(failure) => Err(failure),
        _ => Err(Failure::from(EINVAL)),
    }
}

fn run(received: &Received, parked: Option<Worker>) -> core::result::Result<(), Failure> {
    failpoint::hit(b"shim.run")?;
    let mapped = Mapped::new(received.fds[0])?;
    let plan = Plan::parse(mapped.0).ok_or(EINVAL)?;
    let mut streams = Streams::default();
    let mut fds = received.fds;
    let mut container = false;
    for record in plan.parent {
        let record = record.ok_or(EINVAL)?;
        container |= record.op == Op::Container;
        prepare(&record, &mut streams, &mut fds)?;
    }
    let worker = match parked {
        Some(worker) => {
            packet::send(worker.socket, &[1], &fds[..4])?;
            worker
        }
        None => hire(&plan, fds)?,
    };
    failpoint::hit(b"shim.cloned")?;
    // The child's ends must not stay open here, or the log never ends.
    fds[1..4].iter().filter(|fd| !received.fds.contains(fd)).for_each(|fd| sys::close(*fd));
    received.close();
    let mut withheld = 0;
    loop {
        match report(&worker)? {
            Report::Failed(failure) => return Err(failure),
            Report::Terminal(fd) => streams.terminal = fd,
            Report::Withheld(what) => withheld |= what,
            Report::Runs => break,
            Report::Parked => return Err(Failure::from(EINVAL)),
        }
    }
    sys::close(worker.socket);
    drop(mapped);
    let (seconds, nanos) = process::now();
    if container {
        note_started(&worker.child, seconds, nanos);
        failpoint::hit(b"shim.started")?;
    }
    let text = answer(message::STARTED, worker.child.pid, seconds, nanos | u64::from(withheld) << 32);
    let terminal = [streams.terminal];
    let given = if !container && streams.terminal >= 0 { &terminal[..] } else { &[] };
    let _ = packet::send(CONTROL, &text, given);
    supervise::container_or_process(container, worker.child, streams, (seconds, nanos))
}

/// What the parent does before there is a child.
fn prepare(record: &Record<'_>, streams: &mut Streams, fds: &mut [i32; FDS]) -> Result<()> {
    const CLONE_NEWPID: usize = 0x2000_0000;
    match record.op {
        Op::Container => streams.container(record, fds),
        Op::Process => Ok(()),
        Op::ParentSetns => {
            let fd = files::open(record.str(0), 0, 0)?;
            let result = sys!(SETNS, fd, CLONE_NEWPID).map(|_| ());
            sys::close(fd);
            result
        }
        Op::ParentSetnsFd => sys!(SETNS, fds[4], CLONE_NEWPID).map(|_| ()),
        Op::Cgroup => Ok(()),
        _ => Err(EINVAL),
    }
}

/// Makes the child, which begins with the plan at once.
fn hire(plan: &Plan<'_>, fds: [i32; FDS]) -> Result<Worker> {
    let [mine, theirs] = packet::pair()?;
    let cgroup = plan.parent.flatten().find(|record| record.op == Op::Cgroup);
    let cgroup = match cgroup {
        Some(record) => Some(files::open(record.str(0), files::O_PATH | files::O_DIRECTORY, 0)?),
        None => None,
    };
    let child = process::clone(plan.clone_flags, cgroup)?;
    let Some(child) = child else {
        sys::close(mine);
        child::work(Work { home: None, socket: theirs, fds }, plan.child)
    };
    cgroup.into_iter().for_each(sys::close);
    sys::close(theirs);
    Ok(Worker { child, socket: mine })
}

enum Report {
    Parked,
    Terminal(i32),
    Withheld(u32),
    Failed(Failure),
    Runs,
}

/// What the child has to say; that it has closed its end means that its program runs.
fn report(worker: &Worker) -> Result<Report> {
    let mut bytes = [0u8; ANSWER];
    let received = packet::receive(worker.socket, &mut bytes)?;
    if received.len == 0 {
        return Ok(Report::Runs);
    }
    let errno = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Ok(match u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) {
        PARKED => Report::Parked,
        FAILED => {
            worker.child.wait();
            Report::Failed(Failure { errno, inside: true, step: u64::from(bytes[16]) | u64::from(bytes[17]) << 8 })
        }
        message::WITHHELD => Report::Withheld(errno as u32),
        _ => Report::Terminal(received.fds[0]),
    })
}

/// Leaves word of the process for engines to come: the file `started` in the container's directory, where this process
/// now is.
fn note_started(child: &Child, seconds: u64, nanos: u64) {
    let mut path = Text::<40>::default();
    path.put(b"/proc/").number(child.pid as u64).put(b"/stat");
    let mut buffer = [0u8; 512];
    let stat = files::read(path.c_str(), &mut buffer).unwrap_or(b"");
    let after_name = stat.iter().rposition(|byte| *byte == b')').map_or(&b""[..], |at| &stat[at..]);
    let ticks = after_name.split(|byte| *byte == b' ').nth(20).unwrap_or(b"0");
    let mut text = Text::<256>::default();
    text.put(b"gantry-started 1\npid ").number(child.pid as u64).put(b"\nticks ").put(ticks);
    text.put(b"\nstarted ").time(seconds, nanos).put(b"\n");
    let _ = files::replace(b"started.new\0", b"started\0", text.bytes());
}
