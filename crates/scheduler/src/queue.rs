//! The pods that wait: ready by priority and age, held back after a failure, or parked until an event may help.
//!
//! Pure but for the times it is given. A pod is in one place at a time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use meta::ObjectKey;
use tokio::time::Instant;

use crate::model::{Node, Pod};
use crate::plugins::{ALL, Events};

/// The first time that a rejected pod is held back; it doubles with each failure.
const FIRST_HOLD: Duration = Duration::from_millis(50);
const LONGEST_HOLD: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Queue {
    entries: HashMap<ObjectKey, Entry>,
    ready: BinaryHeap<Ready>,
    held: BinaryHeap<Reverse<(Instant, u64, ObjectKey)>>,
    tickets: u64,
}

struct Entry {
    pod: Arc<Pod>,
    place: Place,
    /// Tells the valid one among several heap entries of a pod.
    ticket: u64,
    failures: u32,
    /// Until when the last failure holds it back.
    hold: Option<Instant>,
}

enum Place {
    Ready,
    Held,
    /// Until an event that one of these plug-ins knows to help.
    Parked {
        rejected_by: u32,
    },
    /// With a worker: being decided or bound.
    Out,
}

#[derive(PartialEq, Eq)]
struct Ready {
    priority: i32,
    created: i64,
    ticket: u64,
    key: ObjectKey,
}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: high priority first, then the older, then the earlier queued.
        let own = (self.priority, Reverse(self.created), Reverse(self.ticket));
        own.cmp(&(other.priority, Reverse(other.created), Reverse(other.ticket)))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// === impl Queue ===

impl Queue {
    /// A pod that wants a node, new or changed.
    pub(crate) fn put(&mut self, pod: Arc<Pod>) {
        match self.entries.get_mut(&pod.key) {
            Some(entry) if entry.pod.uid == pod.uid => {
                let differs = !same_wishes(&entry.pod, &pod);
                let key = pod.key.clone();
                entry.pod = pod;
                if differs && matches!(entry.place, Place::Parked { .. }) {
                    self.make_ready(&key);
                }
            }
            _ => {
                let key = pod.key.clone();
                self.entries.insert(
                    key.clone(),
                    Entry {
                        pod,
                        place: Place::Out,
                        ticket: 0,
                        failures: 0,
                        hold: None,
                    },
                );
                self.make_ready(&key);
            }
        }
    }

    /// A pod that is gone, bound or no longer ours.
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        self.entries.remove(key);
    }

    /// The next pod to decide about.
    pub(crate) fn pop(&mut self) -> Option<Arc<Pod>> {
        while let Some(ready) = self.ready.pop() {
            if let Some(entry) = self.entries.get_mut(&ready.key)
                && entry.ticket == ready.ticket
                && matches!(entry.place, Place::Ready)
            {
                entry.place = Place::Out;
                return Some(entry.pod.clone());
            }
        }
        None
    }

    /// No node fits: waits for an event that helps.
    pub(crate) fn park(&mut self, key: &ObjectKey, rejected_by: u32, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.fail(now);
            entry.place = Place::Parked { rejected_by };
        }
    }

    /// Something failed that is not about nodes: tried again after a while.
    pub(crate) fn hold(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.fail(now);
            self.make_ready_after_hold(&key.clone(), now);
        }
    }

    /// An event at a node: parked pods come back that it may help.
    pub(crate) fn wake(&mut self, events: Events, node: &Node, fits: impl Fn(&Pod, &Node) -> bool, now: Instant) {
        let woken: Vec<ObjectKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| match entry.place {
                Place::Parked { rejected_by } => {
                    // Parked while there was no node at all: nobody rejected it, every node helps.
                    (rejected_by == 0 || helped(rejected_by, events)) && fits(&entry.pod, node)
                }
                _ => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in woken {
            self.make_ready_after_hold(&key, now);
        }
    }

    /// Moves pods whose time has come, and says when the next one's comes.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((when, ticket, key))) = self.held.peek() {
            if *when > now {
                return Some(*when);
            }
            let (ticket, key) = (*ticket, key.clone());
            self.held.pop();
            let valid = |entry: &Entry| entry.ticket == ticket && matches!(entry.place, Place::Held);
            if self.entries.get(&key).is_some_and(valid) {
                self.make_ready(&key);
            }
        }
        None
    }

    fn make_ready_after_hold(&mut self, key: &ObjectKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.hold.filter(|until| *until > now) {
            Some(until) => {
                self.tickets += 1;
                entry.ticket = self.tickets;
                entry.place = Place::Held;
                self.held.push(Reverse((until, entry.ticket, key.clone())));
            }
            None => self.make_ready(key),
        }
    }

    fn make_ready(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.tickets += 1;
        entry.ticket = self.tickets;
        entry.place = Place::Ready;
        self.ready.push(Ready {
            priority: entry.pod.priority,
            created: entry.pod.created,
            ticket: entry.ticket,
            key: key.clone(),
        });
    }
}

// === impl Entry ===

impl Entry {
    fn fail(&mut self, now: Instant) {
        let hold = FIRST_HOLD.saturating_mul(1 << self.failures.min(16)).min(LONGEST_HOLD);
        self.failures += 1;
        self.hold = Some(now + hold);
    }
}

fn helped(rejected_by: u32, events: Events) -> bool {
    let rejected = |index: usize| rejected_by & (1 << index) != 0;
    ALL.iter()
        .enumerate()
        .any(|(index, plugin)| rejected(index) && plugin.helped_by().meets(events))
}

/// Whether two states of one pod want the same of a node; our own status patch must not wake it.
fn same_wishes(one: &Pod, other: &Pod) -> bool {
    one.requests == other.requests
        && one.priority == other.priority
        && one.selector == other.selector
        && one.required == other.required
        && one.tolerations == other.tolerations
        && one.ports == other.ports
}
