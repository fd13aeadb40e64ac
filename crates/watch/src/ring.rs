//! The short history of a cache.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use meta::Revision;

use crate::hub::Options;
use crate::{Error, Event, Version};

/// The latest events, numbered without a gap; a watcher is the number of the event that it wants next.
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the oldest event that is left.
    first: u64,
    /// Every event after this revision is there.
    floor: Revision,
    /// What the events keep alive, without encodings.
    size: usize,
    encoded: Arc<AtomicUsize>,
}

impl Ring {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            events: VecDeque::new(),
            first: 0,
            floor,
            size: 0,
            encoded: Arc::default(),
        }
    }

    /// Forgets everything: all watchers find their place gone.
    pub(crate) fn restart(&mut self, floor: Revision) {
        self.first += self.events.len() as u64 + 1;
        self.events.clear();
        self.size = 0;
        self.floor = floor;
    }

    pub(crate) fn push(
        &mut self,
        revision: Revision,
        current: Option<Arc<Version>>,
        previous: Option<Arc<Version>>,
        options: &Options,
    ) {
        let event = Event::new(revision, current, previous, Arc::clone(&self.encoded));
        self.size += event.size();
        self.events.push_back(Arc::new(event));
        self.trim(options);
    }

    /// Lets go what is over the limits.
    pub(crate) fn trim(&mut self, options: &Options) {
        let now = Instant::now();
        while let Some(oldest) = self.events.front() {
            let many = self.events.len() > options.max_events;
            let large = self.size + self.encoded.load(Ordering::Relaxed) > options.max_bytes;
            let old = now.saturating_duration_since(oldest.seen) > options.keep_for;
            if !(many || self.events.len() > options.min_events && (large || old)) {
                return;
            }
            self.size -= oldest.size();
            self.floor = oldest.revision();
            self.first += 1;
            self.events.pop_front();
        }
    }

    /// The number that the next event will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The number of the first event after a revision.
    pub(crate) fn position(&self, after: Revision) -> Result<u64, Error> {
        if after < self.floor {
            return Err(Error::Expired {
                after,
                oldest: self.floor,
            });
        }
        let before = self.events.partition_point(|event| event.revision() <= after);
        Ok(self.first + before as u64)
    }

    /// The events from a number on.
    pub(crate) fn from(&self, number: u64, after: Revision) -> Result<impl Iterator<Item = &Arc<Event>>, Error> {
        let Some(index) = number.checked_sub(self.first) else {
            return Err(Error::Expired {
                after,
                oldest: self.floor,
            });
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(self.events.len());
        Ok(self.events.range(index..))
    }
}
