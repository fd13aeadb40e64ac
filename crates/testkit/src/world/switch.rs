//! Moves frames between taps: one thread that learns addresses as an Ethernet switch does, and heeds what tests have set
//! for each link.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::link::Link;

/// Larger than any frame of a tap.
const FRAME: usize = 64 * 1024 + 64;
/// Frames of one tap in a row, so that no other one starves.
const ROW: usize = 64;

/// The switch. Its thread and its taps end with it.
pub(super) struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    arrivals: Mutex<Vec<Port>>,
    ended: AtomicBool,
    wake: OwnedFd,
}

struct Port {
    segment: usize,
    tap: File,
    link: Link,
}

/// A frame that is on its way: due, in order, towards a port.
type Travelling = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Mover {
    shared: Arc<Shared>,
    ports: Vec<Port>,
    /// Behind which port an address was seen, by segment.
    known: HashMap<(usize, [u8; 6]), usize>,
    travelling: BinaryHeap<Travelling>,
    sent: u64,
    random: u64,
}

// === impl Switch ===

impl Switch {
    pub(super) fn start(seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            arrivals: Mutex::default(),
            ended: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let mut mover = Mover {
            shared: shared.clone(),
            ports: Vec::new(),
            known: HashMap::new(),
            travelling: BinaryHeap::new(),
            sent: 0,
            random: seed | 1,
        };
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || mover.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Plugs a tap in.
    pub(super) fn add(&self, segment: usize, tap: File) -> io::Result<Link> {
        let link = Link::default();
        let port = Port {
            segment,
            tap,
            link: link.clone(),
        };
        self.shared.arrivals().push(port);
        self.shared.wake()?;
        Ok(link)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        let woken = self.shared.wake();
        if let (Ok(()), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn arrivals(&self) -> std::sync::MutexGuard<'_, Vec<Port>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) -> io::Result<()> {
        rustix::io::write(&self.wake, &1u64.to_ne_bytes())?;
        Ok(())
    }
}

// === impl Mover ===

impl Mover {
    fn run(&mut self) {
        let mut frame = vec![0; FRAME];
        while !self.shared.ended.load(Ordering::Acquire) {
            let Some(readable) = self.wait() else { return };
            for port in readable {
                for _ in 0..ROW {
                    let Ok(length) = (&self.ports[port].tap).read(&mut frame) else {
                        break;
                    };
                    self.forward(port, &frame[..length]);
                }
            }
            self.deliver_due();
        }
    }

    /// Waits until there is something to move; `None` when that can't be done any more.
    fn wait(&mut self) -> Option<Vec<usize>> {
        let mut number = [0; 8];
        if rustix::io::read(&self.shared.wake, &mut number).is_ok() {
            let arrivals = std::mem::take(&mut *self.shared.arrivals());
            self.ports.extend(arrivals);
        }
        let limit = self.travelling.peek().map(|Reverse((due, ..))| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
        });
        let mut fds = vec![PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN)];
        fds.extend(self.ports.iter().map(|port| PollFd::new(&port.tap, PollFlags::IN)));
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let ready = |(port, fd): (usize, &PollFd<'_>)| fd.revents().contains(PollFlags::IN).then_some(port);
        Some(fds[1..].iter().enumerate().filter_map(ready).collect())
    }

    fn forward(&mut self, from: usize, frame: &[u8]) {
        let (Some(to), Some(source)) = (address(frame, 0), address(frame, 6)) else {
            return;
        };
        let segment = self.ports[from].segment;
        self.known.insert((segment, source), from);
        let conditions = self.ports[from].link.conditions();
        if conditions.cut || self.lost(conditions.loss) {
            return;
        }
        // The lowest bit of an address says that it means many.
        let one = if to[0] & 1 == 0 {
            self.known.get(&(segment, to)).copied()
        } else {
            None
        };
        match one {
            Some(port) if port != from => self.send(port, conditions.delay, frame),
            Some(_) => {}
            None => {
                for port in 0..self.ports.len() {
                    if port != from && self.ports[port].segment == segment {
                        self.send(port, conditions.delay, frame);
                    }
                }
            }
        }
    }

    fn send(&mut self, port: usize, delay: Duration, frame: &[u8]) {
        let link = self.ports[port].link.clone();
        let conditions = link.conditions();
        if conditions.cut || link.refuses(&conditions, frame) || self.lost(conditions.loss) {
            return;
        }
        let delay = delay + conditions.delay;
        if delay.is_zero() {
            self.deliver(port, frame);
        } else {
            self.sent += 1;
            let due = Instant::now() + delay;
            self.travelling.push(Reverse((due, self.sent, port, frame.to_vec())));
        }
    }

    fn deliver_due(&mut self) {
        while let Some(Reverse((due, ..))) = self.travelling.peek() {
            if *due > Instant::now() {
                return;
            }
            if let Some(Reverse((_, _, port, frame))) = self.travelling.pop() {
                // What was on the cable when it was cut is lost as well.
                if !self.ports[port].link.conditions().cut {
                    self.deliver(port, &frame);
                }
            }
        }
    }

    /// A machine that takes no more loses frames, as on a real wire.
    fn deliver(&self, port: usize, frame: &[u8]) {
        let _ = (&self.ports[port].tap).write(frame);
    }

    /// Draws whether a frame vanishes (xorshift64).
    fn lost(&mut self, share: f64) -> bool {
        if share <= 0.0 {
            return false;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64 <= share
    }
}

fn address(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..at + 6)?.try_into().ok()
}
