//! A watcher: a cursor into a cache's ring.

use std::sync::Arc;

use meta::Revision;
use tokio::sync::watch;

use crate::scope::Keys;
use crate::{Cache, Delivery, Error, Event, Filter, Selection};

/// Reads a cache's changes in order, at its own pace: it has no queue, so it costs nothing while it waits, and gets
/// [`Error::Expired`] when the ring has overtaken it.
pub struct Watcher {
    cache: Arc<Cache>,
    /// The number of the event to look at next.
    cursor: u64,
    /// The revision that it began after; events up to it are not for this watcher.
    after: Revision,
    keys: Keys,
    filter: Option<Arc<dyn Filter>>,
    ticks: watch::Receiver<u64>,
}

impl Watcher {
    pub(crate) fn new(
        cache: Arc<Cache>,
        cursor: u64,
        after: Revision,
        selection: Selection,
        ticks: watch::Receiver<u64>,
    ) -> Self {
        let keys = selection.scope.keys(cache.prefix());
        Self {
            cache,
            cursor,
            after,
            keys,
            filter: selection.filter,
            ticks,
        }
    }

    /// Waits for the next event in the selection. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            // Marked as seen before looking, so that nothing which comes in between is slept through.
            self.ticks.mark_unchanged();
            if let Some(delivery) = self.try_next()? {
                return Ok(delivery);
            }
            self.ticks.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    /// The next event if it is already there: to put several into one write.
    pub fn try_next(&mut self) -> Result<Option<Delivery>, Error> {
        while let Some(event) = self.step()? {
            let filter = self.filter.as_deref();
            let delivery = Delivery::of(event, |version| filter.is_none_or(|filter| filter.matches(version)));
            if delivery.is_some() {
                return Ok(delivery);
            }
        }
        Ok(None)
    }

    /// The revision up to which this watcher has been given everything: what a bookmark may say.
    pub fn progress(&self) -> Revision {
        // The hub's progress must be read before the ring: whatever it covers is then in the ring.
        let hub = self.cache.progress();
        let state = self.cache.state.read();
        let seen = match state
            .ring
            .from(self.cursor, self.after)
            .map(|mut events| events.next().cloned())
        {
            Ok(None) => hub.max(state.last),
            Ok(Some(next)) => Revision(next.revision().0.saturating_sub(1)),
            // Overtaken: it can say nothing new.
            Err(_) => self.after,
        };
        seen.max(self.after)
    }

    /// Moves to the next event in scope.
    fn step(&mut self) -> Result<Option<Arc<Event>>, Error> {
        let state = self.cache.state.read();
        if state.closed {
            return Err(Error::Closed);
        }
        for event in state.ring.from(self.cursor, self.after)? {
            self.cursor += 1;
            let wanted = event.revision() > self.after && event.key().is_some_and(|key| self.keys.contains(key));
            if wanted {
                return Ok(Some(Arc::clone(event)));
            }
        }
        Ok(None)
    }
}
