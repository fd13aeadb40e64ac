//! After the program runs: its output into the log, requests answered, its end noted.

use crate::cri::Text;
use crate::log::{Log, Pending};
use crate::message::{self, ANSWER, FAILED, OK, REQUEST, answer};
use crate::packet::{self, FDS};
use crate::plan::Record;
use crate::process::{self, Child, SIGKILL, Status};
use crate::sys::{self, EAGAIN, EINVAL, EPERM, Errno, Result, exit};
use crate::{CONTROL, failpoint, files};

/// Engines that may be connected at a time, and clients that may be attached.
const PEERS: usize = 8;
const POLLIN: u16 = 1;
const POLLOUT: u16 = 4;
/// How long clients may take for the last output of a program that has ended, in steps of a tenth of a second.
const LAST_STEPS: usize = 20;
const O_RW_NONBLOCK: usize = files::O_NONBLOCK | files::O_CLOEXEC;

static mut OUT: Pending = Pending::EMPTY;
static mut ERR: Pending = Pending::EMPTY;

/// The shim's ends of the program's streams; -1 where there is none.
pub struct Streams {
    stdin: i32,
    stdout: i32,
    stderr: i32,
    /// The terminal, in place of the three.
    pub terminal: i32,
    listener: i32,
    oom: i32,
    oom_before: u64,
    stdin_once: bool,
    log: Option<Log>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            stdin: -1,
            stdout: -1,
            stderr: -1,
            terminal: -1,
            listener: -1,
            oom: -1,
            oom_before: 0,
            stdin_once: false,
            log: None,
        }
    }
}

impl Streams {
    /// Everything that a container needs outside of itself. The current directory becomes the container's.
    pub fn container(&mut self, record: &Record<'_>, fds: &mut [i32; FDS]) -> Result<()> {
        sys!(CHDIR, record.str(0).as_ptr())?;
        self.log = Some(Log::open(record.str(1), record.arg(0), record.arg(1))?);
        self.stdin_once = record.arg(4) != 0;
        let null = files::open(b"/dev/null\0", files::O_RDWR, 0)?;
        fds[1..4].fill(null);
        if record.arg(2) == 0 {
            [self.stdout, fds[2]] = pipe()?;
            [self.stderr, fds[3]] = pipe()?;
            set_nonblocking(self.stdout)?;
            set_nonblocking(self.stderr)?;
            if record.arg(3) != 0 {
                [fds[1], self.stdin] = pipe()?;
            }
        }
        if record.str(2).len() > 1
            && let Ok(fd) = files::open(record.str(2), 0, 0)
        {
            self.oom = fd;
            self.oom_before = oom_kills(fd);
        }
        self.listener = listen()?;
        Ok(())
    }

    fn main(&self) -> i32 {
        if self.terminal >= 0 { self.terminal } else { self.stdout }
    }
}

fn pipe() -> Result<[i32; 2]> {
    let mut ends = [0i32; 2];
    sys!(PIPE2, ends.as_mut_ptr(), files::O_CLOEXEC)?;
    Ok(ends)
}

fn set_nonblocking(fd: i32) -> Result<()> {
    sys!(FCNTL, fd, 4, files::O_NONBLOCK).map(|_| ())
}

/// Listens at `shim.sock` in the current directory.
fn listen() -> Result<i32> {
    let mut address = *b"\x01\0shim.sock\0";
    address[..2].copy_from_slice(&1u16.to_ne_bytes());
    let _ = sys!(UNLINKAT, files::AT_FDCWD, c"shim.sock".as_ptr(), 0);
    let fd = sys!(SOCKET, 1, 5 | O_RW_NONBLOCK, 0)? as i32;
    sys!(BIND, fd, address.as_ptr(), address.len())?;
    sys!(LISTEN, fd, PEERS)?;
    Ok(fd)
}

/// The number of OOM kills that the kernel counts in `memory.oom_control` or `memory.events`.
fn oom_kills(fd: i32) -> u64 {
    let mut buffer = [0u8; 512];
    match sys!(PREAD64, fd, buffer.as_mut_ptr(), buffer.len(), 0) {
        Ok(len) => files::number_after(&buffer[..len], b"oom_kill").unwrap_or(0),
        Err(_) => 0,
    }
}

/// Stays until the program has ended.
pub fn container_or_process(container: bool, child: Child, streams: Streams, started: (u64, u64)) -> ! {
    let attached = Attached { fds: [[-1; 2]; PEERS], full: [[false; 2]; PEERS] };
    let mut shim = Shim { child, streams, peers: [-1; PEERS], attached, keep: container };
    shim.peers[0] = CONTROL;
    if shim.streams.terminal >= 0 {
        if container {
            let _ = set_nonblocking(shim.streams.terminal);
        } else {
            sys::close(shim.streams.terminal);
            shim.streams.terminal = -1;
        }
    }
    shim.watch();
    let status = child.wait();
    let finished = process::now();
    let _ = failpoint::hit(b"shim.exited");
    if container {
        shim.drain();
        shim.note_exit(status, started, finished);
    }
    let text = answer(
        message::EXITED,
        status.value,
        u64::from(status.signalled),
        finished.0 * 1_000_000_000 + finished.1,
    );
    for peer in shim.peers.iter().filter(|peer| **peer >= 0) {
        let _ = packet::send(*peer, &text, &[]);
    }
    exit(0)
}

struct Shim {
    child: Child,
    streams: Streams,
    /// Sockets that requests come from.
    peers: [i32; PEERS],
    attached: Attached,
    /// A container goes on without an engine; a further process ends with its client.
    keep: bool,
}

impl Shim {
    /// Handles all events until the program ends.
    fn watch(&mut self) {
        loop {
            let mut polled = [0u64; 4 + PEERS + 2 * PEERS];
            // Output that somebody is too slow for waits in the program's pipe, and the program with it.
            let unless_full = |stdout, fd| if self.attached.any_full(stdout) { -1 } else { fd };
            let [out, err] = [unless_full(true, self.streams.main()), unless_full(false, self.streams.stderr)];
            let watched = [self.child.pidfd, out, err, self.streams.listener];
            for (to, fd) in polled.iter_mut().zip(watched.iter().chain(&self.peers)) {
                *to = poll_for(*fd, POLLIN);
            }
            self.attached.poll_full(&mut polled[4 + PEERS..]);
            if sys!(PPOLL, polled.as_mut_ptr(), polled.len(), 0, 0, 8).is_err() {
                continue;
            }
            let ready = |at: usize| polled[at] >> 48 != 0;
            self.attached.note_ready(&polled[4 + PEERS..]);
            if ready(1) {
                self.pump(true);
            }
            if ready(2) {
                self.pump(false);
            }
            if ready(0) {
                return;
            }
            if ready(3) {
                self.accept();
            }
            for peer in 0..PEERS {
                if ready(4 + peer) {
                    self.serve(peer);
                }
            }
        }
    }

    /// Takes one reading of a stream; false if there was nothing.
    fn pump(&mut self, stdout: bool) -> bool {
        let from = if stdout { self.streams.main() } else { self.streams.stderr };
        let Some(log) = self.streams.log.as_mut().filter(|_| from >= 0) else { return false };
        // SAFETY: the program has one thread, and nothing else uses these places.
        let pending = unsafe { if stdout { &mut *(&raw mut OUT) } else { &mut *(&raw mut ERR) } };
        let attached = &mut self.attached;
        match log.pump(from, stdout, pending, |bytes| attached.tee(stdout, bytes)) {
            Ok(1..) => return true,
            Err(EAGAIN) => return false,
            // The end: a pipe says 0, a terminal EIO.
            Ok(0) | Err(_) => log.last(stdout, pending),
        }
        sys::close(from);
        match (stdout, self.streams.terminal >= 0) {
            (true, true) => self.streams.terminal = -1,
            (true, false) => self.streams.stdout = -1,
            _ => self.streams.stderr = -1,
        }
        false
    }

    /// What is still in the streams when the program has ended. Others may hold them open: their output counts no more.
    fn drain(&mut self) {
        for stdout in [true, false] {
            let (mut turns, mut patience) = (4096, LAST_STEPS);
            while turns > 0 && self.pump(stdout) {
                turns -= 1;
                self.attached.wait(stdout, &mut patience);
            }
            if let Some(log) = self.streams.log.as_mut() {
                // SAFETY: the program has one thread, and nothing else uses these places.
                log.last(stdout, unsafe { if stdout { &mut *(&raw mut OUT) } else { &mut *(&raw mut ERR) } });
            }
        }
    }

    fn accept(&mut self) {
        let Ok(fd) = sys!(ACCEPT4, self.streams.listener, 0, 0, files::O_CLOEXEC) else { return };
        match self.peers.iter_mut().find(|peer| **peer < 0) {
            Some(place) => *place = fd as i32,
            None => sys::close(fd as i32),
        }
    }

    fn serve(&mut self, peer: usize) {
        let fd = self.peers[peer];
        let mut request = [0u8; REQUEST];
        let Ok(received) = packet::receive(fd, &mut request) else { return self.hang_up(peer) };
        if received.len == 0 {
            return self.hang_up(peer);
        }
        let word = |at: usize| u32::from_ne_bytes([request[at], request[at + 1], request[at + 2], request[at + 3]]);
        let (kind, a, b) = (word(0), word(4), word(8));
        if kind == message::ATTACH {
            let text = match self.attached.add([received.fds[0], received.fds[1]]) {
                Ok(()) => answer(OK, 0, 0, 0),
                Err(errno) => {
                    received.close();
                    answer(FAILED, errno.0, 0, 0)
                }
            };
            let _ = packet::send(fd, &text, &[]);
            return;
        }
        received.close();
        if kind == message::STDIN {
            let given = [if self.streams.terminal >= 0 { self.streams.terminal } else { self.streams.stdin }];
            let given = if given[0] >= 0 { &given[..] } else { &[] };
            let _ = packet::send(fd, &answer(OK, 0, 0, 0), given);
            if self.streams.stdin_once {
                self.close_stdin();
            }
            return;
        }
        let text: [u8; ANSWER] = match self.request(kind, a, b) {
            Ok(()) => answer(OK, 0, 0, 0),
            Err(errno) => answer(FAILED, errno.0, 0, 0),
        };
        let _ = packet::send(fd, &text, &[]);
    }

    fn request(&mut self, kind: u32, a: u32, b: u32) -> Result<()> {
        match kind {
            message::SIGNAL => self.child.signal(a),
            message::RESIZE => {
                let size = [a as u16, b as u16, 0, 0];
                sys!(IOCTL, self.streams.terminal, 0x5414, size.as_ptr()).map(|_| ())
            }
            message::CLOSE_STDIN => {
                self.close_stdin();
                Ok(())
            }
            message::REOPEN => self.streams.log.as_mut().ok_or(EPERM)?.reopen(),
            _ => Err(EINVAL),
        }
    }

    fn close_stdin(&mut self) {
        if self.streams.stdin >= 0 {
            sys::close(self.streams.stdin);
            self.streams.stdin = -1;
        }
    }

    fn hang_up(&mut self, peer: usize) {
        sys::close(self.peers[peer]);
        self.peers[peer] = -1;
        if !self.keep {
            let _ = self.child.signal(SIGKILL);
        }
    }

    /// The exit file. Its format is frozen: engines to come must read what old shims wrote.
    fn note_exit(&self, status: Status, started: (u64, u64), finished: (u64, u64)) {
        let oom = self.streams.oom >= 0 && oom_kills(self.streams.oom) > self.streams.oom_before;
        let code = if status.signalled { 128 + status.value } else { status.value };
        let signal = if status.signalled { status.value } else { 0 };
        let mut text = Text::<256>::default();
        text.put(b"gantry-exit 1\ncode ").number(code as u64).put(b"\nsignal ").number(signal as u64);
        text.put(b"\noom ").number(u64::from(oom)).put(b"\nstarted ").time(started.0, started.1);
        text.put(b"\nfinished ").time(finished.0, finished.1).put(b"\n");
        // A full disk must not swallow the exit code for ever: the engine sees the empty directory entry's lack and
        // says that it is not certain.
        let written: core::result::Result<(), Errno> = files::replace(b"exit.new\0", b"exit\0", text.bytes());
        if written.is_ok() {
            let _ = failpoint::hit(b"shim.noted");
        }
    }
}

/// An entry of what is polled.
fn poll_for(fd: i32, events: u16) -> u64 {
    u64::from(fd as u32) | u64::from(events) << 32
}

/// What one descriptor is ready for at once.
fn poll_one(fd: i32, events: u16) -> u16 {
    let (mut polled, now) = ([poll_for(fd, events)], [0u64; 2]);
    match sys!(PPOLL, polled.as_mut_ptr(), 1, now.as_ptr(), 0, 8) {
        Ok(_) => (polled[0] >> 48) as u16,
        Err(_) => 0,
    }
}

/// Sockets that output is copied to: standard output and error of each client.
struct Attached {
    fds: [[i32; 2]; PEERS],
    /// Who has no room for more.
    full: [[bool; 2]; PEERS],
}

impl Attached {
    /// Takes a client's two sockets; `EAGAIN` when there are too many clients.
    fn add(&mut self, pair: [i32; 2]) -> Result<()> {
        // Who went while there was no output is noticed here.
        for fd in self.fds.as_flattened_mut() {
            if *fd >= 0 && poll_one(*fd, 0) != 0 {
                sys::close(*fd);
                *fd = -1;
            }
        }
        let place = self.fds.iter().position(|known| *known == [-1; 2]).ok_or(EAGAIN)?;
        (self.fds[place], self.full[place]) = (pair, [false; 2]);
        Ok(())
    }

    fn any_full(&self, stdout: bool) -> bool {
        self.full.iter().any(|pair| pair[usize::from(!stdout)])
    }

    /// Asks to be woken by those who have room again.
    fn poll_full(&self, polled: &mut [u64]) {
        let all = self.fds.as_flattened().iter().zip(self.full.as_flattened());
        for (to, (fd, full)) in polled.iter_mut().zip(all) {
            *to = poll_for(if *full { *fd } else { -1 }, POLLOUT);
        }
    }

    fn note_ready(&mut self, polled: &[u64]) {
        for (full, polled) in self.full.as_flattened_mut().iter_mut().zip(polled) {
            *full &= polled >> 48 == 0;
        }
    }

    /// Waits for those who have no room, as long as there is patience; then they are cut off.
    fn wait(&self, stdout: bool, patience: &mut usize) {
        let step = [0u64, 100_000_000];
        let column = usize::from(!stdout);
        for (fds, full) in self.fds.iter().zip(&self.full) {
            let mut polled = [poll_for(fds[column], POLLOUT)];
            while full[column] && *patience > 0 {
                if sys!(PPOLL, polled.as_mut_ptr(), 1, step.as_ptr(), 0, 8) != Ok(0) {
                    break;
                }
                *patience -= 1;
            }
        }
    }

    /// Copies output to whoever is attached. Room for one reading is made sure of beforehand; who has none now, because
    /// the program has ended and nobody waits any more, or is gone, is cut off.
    fn tee(&mut self, stdout: bool, bytes: &[u8]) {
        const MSG_DONTWAIT_NOSIGNAL: usize = 0x40 | 0x4000;
        let column = usize::from(!stdout);
        for (fds, full) in self.fds.iter_mut().zip(&mut self.full) {
            let (fd, full) = (&mut fds[column], &mut full[column]);
            if *fd < 0 {
                continue;
            }
            let sent = sys!(SENDTO, *fd, bytes.as_ptr(), bytes.len(), MSG_DONTWAIT_NOSIGNAL, 0, 0);
            *full = false;
            if sent != Ok(bytes.len()) {
                sys::close(*fd);
                *fd = -1;
            } else if poll_one(*fd, POLLOUT) == 0 {
                // The kernel says so while more than a quarter of the socket's room is taken, so that what is left is
                // enough for any reading.
                *full = true;
            }
        }
    }
}
