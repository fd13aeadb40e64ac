//! Changes as the ring has them, and as one watcher sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use meta::Revision;
use store::Key;

use crate::encodings::Slots;
use crate::{Slot, Version};

/// One change of one object. At least one of the two versions is there.
pub struct Event {
    revision: Revision,
    current: Option<Arc<Version>>,
    previous: Option<Arc<Version>>,
    lines: Slots,
    /// What the encodings of all events in the ring take together.
    meter: Arc<AtomicUsize>,
    pub(crate) seen: Instant,
}

impl Event {
    pub(crate) fn new(
        revision: Revision,
        current: Option<Arc<Version>>,
        previous: Option<Arc<Version>>,
        meter: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            revision,
            current,
            previous,
            lines: Slots::default(),
            meter,
            seen: Instant::now(),
        }
    }

    /// The revision of the change; for a deletion it is newer than that of the object that is gone.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object afterwards; `None` when it is gone.
    pub fn current(&self) -> Option<&Arc<Version>> {
        self.current.as_ref()
    }

    /// The object before; `None` when it is new.
    pub fn previous(&self) -> Option<&Arc<Version>> {
        self.previous.as_ref()
    }

    pub(crate) fn key(&self) -> Option<&Key> {
        self.current
            .as_ref()
            .or(self.previous.as_ref())
            .map(|version| version.key())
    }

    /// What the event keeps alive besides encodings; a previous version was the event before's current one.
    pub(crate) fn size(&self) -> usize {
        self.current
            .as_ref()
            .or(self.previous.as_ref())
            .map_or(0, |version| version.bytes().len())
            + 256
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.meter.fetch_sub(self.lines.size(), Ordering::Relaxed);
    }
}

/// What happened to an object, as far as one watcher's selection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is new, or has come into the selection.
    Added,
    /// It has changed, and was in the selection before.
    Modified,
    /// It is gone, or has left the selection.
    Deleted,
}

/// An event for one watcher.
#[derive(Clone)]
pub struct Delivery {
    kind: Kind,
    object: Arc<Version>,
    event: Arc<Event>,
}

impl Delivery {
    /// How a watcher with this filter sees the event; `None`: not at all.
    pub(crate) fn of(event: Arc<Event>, matches: impl Fn(&Version) -> bool) -> Option<Self> {
        let now = event.current.as_ref().filter(|version| matches(version));
        let before = event.previous.as_ref().filter(|version| matches(version));
        let (kind, object) = match (now, before) {
            (Some(now), None) => (Kind::Added, now),
            (Some(now), Some(_)) => (Kind::Modified, now),
            (None, Some(before)) => (Kind::Deleted, before),
            (None, None) => return None,
        };
        let object = Arc::clone(object);
        Some(Self { kind, object, event })
    }

    /// How a watcher that sees only what `matches` sees this; `None`: not at all. For selections that can't be decided
    /// when a version is looked at first.
    #[must_use]
    pub fn narrowed(&self, matches: impl Fn(&Version) -> bool) -> Option<Self> {
        Self::of(Arc::clone(&self.event), matches)
    }

    /// The object before and after, as far as it was there.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.event.previous.iter().chain(&self.event.current)
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The object to show: as it is now, or for [`Kind::Deleted`] as it was last in the selection.
    pub fn object(&self) -> &Arc<Version> {
        &self.object
    }

    /// The `resourceVersion` to show in the object: that of the event, also in a deleted one.
    pub fn revision(&self) -> Revision {
        self.event.revision
    }

    /// The event as it goes over the wire in some format: made once for all watchers that see it as the same kind, and
    /// kept until the event leaves the cache's ring.
    pub fn encoded<E>(&self, slot: Slot, make: impl FnOnce(&Self) -> Result<Bytes, E>) -> Result<Bytes, E> {
        let number = u32::from(slot.0) * 3 + self.kind as u32;
        let (bytes, made) = self.event.lines.get_or_make(number, || make(self))?;
        self.event.meter.fetch_add(made, Ordering::Relaxed);
        Ok(bytes)
    }
}
