//! Feeds of the embedded store: from a short tail in memory, or from the log for whoever is further behind.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use meta::Revision;
use tokio::sync::watch;

use super::format::Entry;
use super::state::State;
use super::{Shared, on_disk, writer};
use crate::{Batch, Change, Error, Event, Feed};

/// The tail keeps at most so many batches, and values of so many bytes.
const TAIL: usize = 1024;
const TAIL_BYTES: usize = 1 << 20;
/// So many transactions are read from the log at once.
const STRIDE: u64 = 64;

/// How far the store is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tip {
    pub(crate) revision: Revision,
    pub(crate) closed: bool,
}

/// The newest batches, without a gap.
#[derive(Default)]
pub(crate) struct Tail {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            self.bytes += size(&batch);
            self.batches.push_back(batch);
        }
        while self.batches.len() > TAIL || self.bytes > TAIL_BYTES && self.batches.len() > 1 {
            self.bytes -= self.batches.pop_front().map_or(0, |batch| size(&batch));
        }
    }

    fn get(&self, revision: Revision) -> Option<Batch> {
        let first = self.batches.front()?.revision;
        let index = usize::try_from(revision.0.checked_sub(first.0)?).ok()?;
        self.batches.get(index).cloned()
    }
}

fn size(batch: &Batch) -> usize {
    let value = |change: &Change| match change {
        Change::Put(value) => value.len(),
        Change::Delete => 0,
    };
    batch.events.iter().map(|event| value(&event.change) + 64).sum()
}

/// A place in the sequence of revisions.
pub(crate) struct EmbeddedFeed {
    shared: Arc<Shared>,
    /// Everything up to here has been given.
    last: Revision,
    /// Read from the log already.
    read: VecDeque<Batch>,
    tip: watch::Receiver<Tip>,
    progress: bool,
}

impl EmbeddedFeed {
    pub(crate) fn new(shared: Arc<Shared>, after: Revision) -> Self {
        let tip = shared.tip.subscribe();
        Self {
            shared,
            last: after,
            read: VecDeque::new(),
            tip,
            progress: false,
        }
    }

    /// Reads on in the log.
    async fn read_on(&mut self, newest: Revision) -> Result<(), Error> {
        let (compacted, files) = {
            let state = self.shared.state.read();
            (state.compacted, Arc::clone(&state.files))
        };
        if self.last < compacted {
            return Err(Error::Compacted { oldest: compacted });
        }
        let revisions = self.last.0 + 1..=newest.0.min(self.last.0 + STRIDE);
        let read = move || {
            let mut batches = VecDeque::new();
            for revision in revisions.map(Revision) {
                let segment = files.segment(revision).ok_or(Error::Compacted { oldest: compacted })?;
                if let Entry::Txn(writes) = segment.read(revision)?.entry {
                    batches.push_back(writer::batch(revision, &writes));
                }
            }
            Ok(batches)
        };
        self.read = on_disk(read).await?;
        let state = self.shared.state.read();
        self.read.iter_mut().for_each(|batch| share(batch, &state));
        Ok(())
    }
}

/// Exchanges what was read from the disk for the same bytes in memory, where those are still the newest.
fn share(batch: &mut Batch, state: &State) {
    let revision = batch.revision;
    let share = |event: &Event| {
        let newest = state
            .newest(&event.key)
            .filter(|(_, newest)| newest.revision == revision);
        newest.map_or_else(
            || event.clone(),
            |(key, newest)| Event {
                key: key.clone(),
                change: Change::Put(newest.value.clone()),
            },
        )
    };
    batch.events = batch.events.iter().map(share).collect();
}

#[async_trait]
impl Feed for EmbeddedFeed {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            let tip = *self.tip.borrow_and_update();
            if self.read.is_empty() && self.last < tip.revision {
                let wanted = Revision(self.last.0 + 1);
                let here = self.shared.tail.lock().get(wanted);
                match here {
                    Some(batch) => self.read.push_back(batch),
                    None => self.read_on(tip.revision).await?,
                }
            }
            if let Some(batch) = self.read.pop_front() {
                self.last = batch.revision;
                return Ok(batch);
            }
            if std::mem::take(&mut self.progress) {
                return Ok(Batch {
                    revision: self.last,
                    events: Arc::default(),
                });
            }
            if tip.closed {
                return Err(Error::Closed);
            }
            self.tip.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    async fn request_progress(&mut self) -> Result<(), Error> {
        self.progress = true;
        Ok(())
    }
}
