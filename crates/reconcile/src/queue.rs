//! A queue of keys: each waits at most once, none is worked on twice at once, failures come back later and later.
//!
//! A key that is added while it is worked on is given out again right after. Adding never waits, so informers' handlers
//! may call it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Clock, TokioClock};

/// How the delay of a failing key grows.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// After the first failure.
    pub initial: Duration,
    /// The longest.
    pub max: Duration,
}

/// A shared queue; clones are the same queue.
pub struct Queue<K>(Arc<Shared<K>>);

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Woken for each key that becomes ready, and when the queue closes.
    ready: Notify,
    /// Woken when the earliest delayed key changes.
    earlier: Notify,
    clock: Arc<dyn Clock>,
    retry: Retry,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Waiting in `ready`, or to be put there when its run ends.
    dirty: HashSet<K>,
    running: HashSet<K>,
    failures: HashMap<K, u32>,
    /// The delayed keys by time; `due` holds the one time that counts for each key.
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    by_ticket: HashMap<u64, K>,
    due: HashMap<K, (Instant, u64)>,
    tickets: u64,
    closed: bool,
}

// === impl Queue ===

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Default for Queue<K> {
    fn default() -> Self {
        Self::new(Retry::default(), Arc::new(TokioClock))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(5),
            max: Duration::from_secs(60),
        }
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Queue<K> {
    /// An empty queue.
    pub fn new(retry: Retry, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            running: HashSet::new(),
            failures: HashMap::new(),
            delayed: BinaryHeap::new(),
            by_ticket: HashMap::new(),
            due: HashMap::new(),
            tickets: 0,
            closed: false,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            ready: Notify::new(),
            earlier: Notify::new(),
            clock,
            retry,
        }))
    }

    /// Puts a key in, unless it waits already.
    pub fn add(&self, key: K) {
        if self.0.state.lock().add(key) {
            self.0.ready.notify_one();
        }
    }

    /// Puts a key in later. Of several times for one key the earliest counts.
    pub fn add_after(&self, key: K, after: Duration) {
        if after.is_zero() {
            return self.add(key);
        }
        let when = self.0.clock.after(after);
        if self.0.state.lock().delay(key, when) {
            self.0.earlier.notify_one();
        }
    }

    /// Puts a failed key in again, later with each failure in a row.
    pub fn retry(&self, key: K) {
        let failures = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures = failures.saturating_add(1);
            *failures
        };
        let factor = 1u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        self.add_after(key, self.0.retry.initial.saturating_mul(factor).min(self.0.retry.max));
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// Waits for a key to work on; `None` once the queue is closed. Must be followed by [`Queue::done`].
    pub async fn next(&self) -> Option<K> {
        loop {
            {
                let mut state = self.0.state.lock();
                if state.closed {
                    // Pass the wake-up on to the next waiting worker.
                    self.0.ready.notify_one();
                    return None;
                }
                if let Some(key) = state.take() {
                    // Wake-ups without a sleeper coalesce: hand on what they may have missed.
                    if !state.ready.is_empty() {
                        self.0.ready.notify_one();
                    }
                    return Some(key);
                }
            }
            self.0.ready.notified().await;
        }
    }

    /// Ends the work on a key that [`Queue::next`] gave.
    pub fn done(&self, key: &K) {
        if self.0.state.lock().done(key) {
            self.0.ready.notify_one();
        }
    }

    /// Lets all workers end.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.ready.notify_one();
        self.0.earlier.notify_one();
    }

    /// How many keys are ready.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves delayed keys in when their time comes; runs until the queue is closed.
    pub(crate) async fn keep_time(&self) {
        loop {
            let wait = {
                let mut state = self.0.state.lock();
                if state.closed {
                    return;
                }
                let (moved, earliest) = state.due_now(self.0.clock.now());
                for _ in 0..moved {
                    self.0.ready.notify_one();
                }
                earliest
            };
            match wait {
                Some(when) => tokio::select! {
                    () = self.0.clock.sleep_until(when) => {}
                    () = self.0.earlier.notified() => {}
                },
                None => self.0.earlier.notified().await,
            }
        }
    }
}

// === impl State ===

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether the key became ready.
    fn add(&mut self, key: K) -> bool {
        if !self.dirty.insert(key.clone()) || self.running.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// Whether the key became ready again.
    fn done(&mut self, key: &K) -> bool {
        self.running.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.ready.push_back(key.clone());
        }
        again || !self.ready.is_empty()
    }

    /// Whether the time is new.
    fn delay(&mut self, key: K, when: Instant) -> bool {
        if self.due.get(&key).is_some_and(|(earlier, _)| *earlier <= when) {
            return false;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        if let Some((_, stale)) = self.due.insert(key.clone(), (when, ticket)) {
            self.by_ticket.remove(&stale);
        }
        self.by_ticket.insert(ticket, key);
        self.delayed.push(Reverse((when, ticket)));
        true
    }

    /// Moves what is due; gives the number of keys made ready and the next time.
    fn due_now(&mut self, now: Instant) -> (usize, Option<Instant>) {
        let mut moved = 0;
        while let Some(Reverse((when, ticket))) = self.delayed.peek().copied() {
            if when > now {
                return (moved, Some(when));
            }
            self.delayed.pop();
            if let Some(key) = self.by_ticket.remove(&ticket) {
                self.due.remove(&key);
                moved += usize::from(self.add(key));
            }
        }
        (moved, None)
    }
}
