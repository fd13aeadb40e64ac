//! The demo's web server: answers every request with its host's name. `PORT` says where (8080), `/healthz` answers too.
//!
//! One thread and one epoll. SIGTERM is heeded gracefully: what has been connected is answered first, so that a client
//! whose connection was on its way when the address was taken out of service still gets its page.
#![no_std]
#![no_main]
#![allow(dead_code, reason = "shares its system calls with other programs")]

#[macro_use]
#[path = "sys/mod.rs"]
mod sys;
#[path = "../src/cri.rs"]
mod cri;

use cri::Text;
use sys::{EAGAIN, EINTR, Result, Start, exit};

/// Connections at a time; the rest wait in the kernel's queue.
const PEERS: usize = 1024;
/// How long connections may still arrive after SIGTERM, in milliseconds of silence.
const QUIET: usize = 300;
const EPOLLIN: u32 = 1;
const NONBLOCK_CLOEXEC: usize = 0o2_004_000;

/// How far a connection's request has been read: the last bytes, to see an empty line come.
#[derive(Clone, Copy)]
struct Peer {
    last: u32,
    health: bool,
    begun: bool,
    close: bool,
}

const FRESH: Peer = Peer { last: 0, health: false, begun: false, close: false };
static mut PEER: [Peer; PEERS] = [FRESH; PEERS];

struct Server {
    epoll: usize,
    listener: usize,
    open: usize,
    page: Text<512>,
    health: Text<512>,
}

extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: this is the program's entry.
    let start = unsafe { Start::new(stack) };
    let port = start.env(b"PORT").unwrap_or(b"8080");
    let port = port.iter().filter(|byte| byte.is_ascii_digit()).fold(0u16, |sum, b| sum.wrapping_mul(10) + u16::from(b - b'0'));
    match serve(port) {
        Ok(()) => exit(0),
        Err(errno) => {
            let mut text = Text::<64>::default();
            text.put(b"hello: port ").number(port.into()).put(b": error ").number(errno.0 as u64).put(b"\n");
            let _ = sys::write(2, text.bytes());
            exit(1)
        }
    }
}

fn serve(port: u16) -> Result<()> {
    let listener = listen(port)?;
    let epoll = sys!(EPOLL_CREATE1, 0o2_000_000)?;
    let term = 1u64 << 14 | 1 << 1;
    sys!(SIGPROCMASK, 0, &raw const term, 0, 8)?;
    let signals = sys!(SIGNALFD4, -1isize, &raw const term, 8, NONBLOCK_CLOEXEC)?;
    let mut server = Server { epoll, listener, open: 0, page: Text::default(), health: Text::default() };
    let mut name = [0u8; 390];
    sys!(UNAME, name.as_mut_ptr())?;
    let host = &name[65..130];
    let mut body = Text::<256>::default();
    body.put(b"Hello from ").put(&host[..host.iter().position(|byte| *byte == 0).unwrap_or(64)]).put(b"!\n");
    answer(&mut server.page, body.bytes());
    answer(&mut server.health, b"ok\n");
    server.watch(listener)?;
    server.watch(signals)?;
    let mut text = Text::<64>::default();
    text.put(b"listening on port ").number(port.into()).put(b"\n");
    let _ = sys::write(1, text.bytes());
    server.run(signals)
}

fn answer(to: &mut Text<512>, body: &[u8]) {
    to.put(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    to.number(body.len() as u64).put(b"\r\n\r\n").put(body);
}

/// A listening socket on all addresses, of both families where there are two.
fn listen(port: u16) -> Result<usize> {
    let port = port.to_be_bytes();
    let mut six = [0u8; 28];
    six[..2].copy_from_slice(&10u16.to_ne_bytes());
    six[2..4].copy_from_slice(&port);
    let mut four = [0u8; 16];
    four[..2].copy_from_slice(&2u16.to_ne_bytes());
    four[2..4].copy_from_slice(&port);
    let open = |family: usize, address: &[u8]| {
        let socket = sys!(SOCKET, family, 1 | NONBLOCK_CLOEXEC, 0)?;
        let (on, off) = (1i32, 0i32);
        sys!(SETSOCKOPT, socket, 1, 2, &raw const on, 4)?;
        if family == 10 {
            sys!(SETSOCKOPT, socket, 41, 26, &raw const off, 4)?;
        }
        let bound = sys!(BIND, socket, address.as_ptr(), address.len()).and_then(|_| sys!(LISTEN, socket, 4096));
        if bound.is_err() {
            sys::close(socket as i32);
        }
        bound.map(|_| socket)
    };
    open(10, &six).or_else(|_| open(2, &four))
}

impl Server {
    fn watch(&self, fd: usize) -> Result<()> {
        let event = Event::new(fd as u64);
        sys!(EPOLL_CTL, self.epoll, 1, fd, &raw const event).map(|_| ())
    }

    fn run(&mut self, signals: usize) -> Result<()> {
        let mut stopping = false;
        loop {
            let mut events = [Event::new(0); 64];
            let timeout = if stopping { QUIET as isize } else { -1 };
            let count = match sys!(EPOLL_PWAIT, self.epoll, events.as_mut_ptr(), events.len(), timeout, 0, 8) {
                Err(EINTR) => continue,
                other => other?,
            };
            // Nothing has come for a while: whoever is still connected is idle.
            if stopping && count == 0 {
                return Ok(());
            }
            for event in &events[..count] {
                let fd = event.fd();
                if fd == self.listener {
                    self.accept();
                } else if fd == signals {
                    stopping = true;
                    let _ = sys::read(signals as i32, &mut [0u8; 128]);
                } else {
                    self.read(fd, stopping);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok(fd) = sys!(ACCEPT4, self.listener, 0, 0, NONBLOCK_CLOEXEC) {
            if fd >= PEERS || self.watch(fd).is_err() {
                sys::close(fd as i32);
                continue;
            }
            // SAFETY: the program has one thread.
            unsafe { PEER[fd] = FRESH };
            self.open += 1;
            // Most requests have come along already.
            self.read(fd, false);
        }
    }

    fn read(&mut self, fd: usize, stopping: bool) {
        let mut buffer = [0u8; 4096];
        loop {
            match sys::read(fd as i32, &mut buffer) {
                Err(EINTR) => {}
                Err(EAGAIN) => return,
                Ok(len @ 1..) => {
                    if !self.request(fd, &buffer[..len], stopping) {
                        return;
                    }
                }
                _ => return self.close(fd),
            }
        }
    }

    /// Answers each request whose end has come. False when the connection is closed.
    fn request(&mut self, fd: usize, bytes: &[u8], stopping: bool) -> bool {
        // SAFETY: the program has one thread, and the number is below the array's length.
        let peer = unsafe { &mut *(&raw mut PEER[fd]) };
        if !peer.begun {
            peer.begun = true;
            peer.health = bytes.starts_with(b"GET /healthz");
        }
        let lower = |byte: &u8| byte.to_ascii_lowercase();
        peer.close |= bytes.windows(17).any(|w| w.iter().map(lower).eq(b"connection: close".iter().copied()));
        for byte in bytes {
            peer.last = peer.last << 8 | u32::from(*byte);
            if peer.last != u32::from_be_bytes(*b"\r\n\r\n") {
                continue;
            }
            let page = if peer.health { self.health.bytes() } else { self.page.bytes() };
            if sys!(SENDTO, fd, page.as_ptr(), page.len(), 0x4000, 0, 0).is_err() || peer.close || stopping {
                self.close(fd);
                return false;
            }
            *peer = FRESH;
        }
        true
    }

    fn close(&mut self, fd: usize) {
        sys::close(fd as i32);
        self.open -= 1;
    }
}

#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
#[derive(Clone, Copy)]
struct Event {
    events: u32,
    data: u64,
}

impl Event {
    fn new(fd: u64) -> Self {
        Self { events: EPOLLIN, data: fd }
    }

    fn fd(&self) -> usize {
        self.data as usize
    }
}
