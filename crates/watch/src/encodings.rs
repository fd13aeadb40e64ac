//! Encodings that are made once and shared: the slots, and the room that all of them may take together.

use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::{AtomicIsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::Version;

/// Which encoding: a number that the caller gives to each wire format, such as JSON, protobuf or a table's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// The encodings of one thing; few, so a plain list.
#[derive(Default)]
pub(crate) struct Slots(Mutex<Vec<(u32, Bytes)>>);

impl Slots {
    /// The encoding of that number; made now when there is none, while others who want one wait. Also says how many
    /// bytes were made.
    pub(crate) fn get_or_make<E>(
        &self,
        number: u32,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<(Bytes, usize), E> {
        let mut made = self.0.lock();
        if let Some((_, bytes)) = made.iter().find(|(other, _)| *other == number) {
            return Ok((bytes.clone(), 0));
        }
        let bytes = make()?;
        made.push((number, bytes.clone()));
        Ok((bytes.clone(), bytes.len()))
    }

    /// How many bytes the encodings take.
    pub(crate) fn size(&self) -> usize {
        self.0.lock().iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Forgets all, and says how many bytes that were.
    pub(crate) fn clear(&self) -> usize {
        std::mem::take(&mut *self.0.lock())
            .iter()
            .map(|(_, bytes)| bytes.len())
            .sum()
    }
}

/// What the encodings of versions (not those of events, which leave with the ring) may take in a whole hub. The
/// oldest go first.
pub(crate) struct Budget {
    limit: isize,
    /// May be below zero for a moment, when something is forgotten before it is counted.
    used: AtomicIsize,
    kept: Mutex<VecDeque<Weak<Version>>>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: isize::try_from(limit).unwrap_or(isize::MAX),
            used: AtomicIsize::new(0),
            kept: Mutex::new(VecDeque::new()),
        }
    }

    /// A version has got an encoding of that size.
    pub(crate) fn add(&self, version: Weak<Version>, size: usize) {
        self.used.fetch_add(size.cast_signed(), Ordering::Relaxed);
        let mut kept = self.kept.lock();
        kept.push_back(version);
        while self.used.load(Ordering::Relaxed) > self.limit {
            let Some(oldest) = kept.pop_front() else { break };
            // One that has been dropped gave its bytes back itself.
            if let Some(version) = oldest.upgrade() {
                self.give_back(version.forget_encodings());
            }
        }
        if kept.len() > 1024 && kept.front().is_some_and(|oldest| oldest.strong_count() == 0) {
            kept.retain(|version| version.strong_count() > 0);
        }
    }

    pub(crate) fn give_back(&self, size: usize) {
        self.used.fetch_sub(size.cast_signed(), Ordering::Relaxed);
    }
}
