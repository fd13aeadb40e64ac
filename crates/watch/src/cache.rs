//! The cache of one resource.

use std::sync::Arc;

use bytes::Bytes;
use meta::Revision;
use parking_lot::RwLock;
use store::{Change, Event, Key, Record};
use tokio::sync::watch;

use crate::hub::{Options, Progress};
use crate::ring::Ring;
use crate::shelf::Shelf;
use crate::version::Shared;
use crate::{Error, Scope, Selection, Snapshot, Version, Watcher};

/// The newest versions of everything under one prefix of the store, and their latest changes.
///
/// Reading it takes a short lock and copies no bytes. It shows some recent revision: use [`Cache::fresh`] or
/// [`Cache::wait_until`] before a read that must show a certain one.
pub struct Cache {
    prefix: String,
    shared: Arc<Shared>,
    options: Options,
    progress: Arc<Progress>,
    pub(crate) state: RwLock<State>,
    /// The number of the ring's end; tells watchers that there is something.
    ticks: watch::Sender<u64>,
}

pub(crate) struct State {
    pub(crate) shelf: Shelf,
    pub(crate) ring: Ring,
    /// The revision of the last change in here.
    pub(crate) last: Revision,
    pub(crate) closed: bool,
}

impl Cache {
    pub(crate) fn new(
        prefix: String,
        shared: Arc<Shared>,
        options: Options,
        progress: Arc<Progress>,
        floor: Revision,
        records: Vec<Record>,
    ) -> Self {
        let shelf = stock(&shared, records);
        let state = State {
            shelf,
            ring: Ring::new(floor),
            last: floor,
            closed: false,
        };
        Self {
            prefix,
            shared,
            options,
            progress,
            state: RwLock::new(state),
            ticks: watch::Sender::new(0),
        }
    }

    /// What its keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A revision up to which the cache has everything.
    pub fn revision(&self) -> Revision {
        let hub = self.progress.revision();
        self.state.read().last.max(hub)
    }

    /// How many objects it has.
    pub fn len(&self) -> usize {
        self.state.read().shelf.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One object, by its whole key.
    pub fn get(&self, key: &str) -> Option<Arc<Version>> {
        self.state.read().shelf.get(key).cloned()
    }

    /// The objects of a scope, at one revision; the same cost for five objects and fifty thousand.
    pub fn list(&self, scope: &Scope) -> Snapshot {
        // The hub's progress must be read first: whatever it covers is then on the shelf.
        let hub = self.progress.revision();
        let (revision, shelf) = {
            let state = self.state.read();
            (state.last.max(hub), state.shelf.clone())
        };
        Snapshot::new(revision, shelf, &scope.keys(&self.prefix))
    }

    /// Every change after a revision that is in the selection. [`Error::Expired`] when the cache no longer has them all.
    pub fn watch(self: &Arc<Self>, after: Revision, selection: Selection) -> Result<Watcher, Error> {
        let ticks = self.ticks.subscribe();
        let cursor = {
            let state = self.state.read();
            if state.closed {
                return Err(Error::Closed);
            }
            state.ring.position(after)?
        };
        Ok(Watcher::new(Arc::clone(self), cursor, after, selection, ticks))
    }

    /// The objects of the selection's scope (the filter is the caller's to apply), and a watcher for every change from
    /// there on: nothing is lost or doubled between the two.
    pub fn list_and_watch(self: &Arc<Self>, selection: Selection) -> Result<(Snapshot, Watcher), Error> {
        let ticks = self.ticks.subscribe();
        let hub = self.progress.revision();
        let (revision, shelf, cursor) = {
            let state = self.state.read();
            if state.closed {
                return Err(Error::Closed);
            }
            (state.last.max(hub), state.shelf.clone(), state.ring.end())
        };
        let snapshot = Snapshot::new(revision, shelf, &selection.scope.keys(&self.prefix));
        let watcher = Watcher::new(Arc::clone(self), cursor, revision, selection, ticks);
        Ok((snapshot, watcher))
    }

    /// Waits until the cache has everything up to a revision. Put a time limit around it: a revision that the store
    /// has not reached may never come.
    pub async fn wait_until(&self, revision: Revision) -> Result<(), Error> {
        self.progress.wait_until(revision).await
    }

    /// Waits until the cache has everything that was acknowledged before this call, and says which revision that was:
    /// what a consistent read needs.
    pub async fn fresh(&self) -> Result<Revision, Error> {
        self.progress.fresh().await
    }

    pub(crate) fn progress(&self) -> Revision {
        self.progress.revision()
    }

    /// Takes in all changes of one revision that are under its prefix, at once.
    pub(crate) fn apply<'a>(&self, revision: Revision, changes: impl Iterator<Item = &'a Event>) {
        let mut state = self.state.write();
        for Event { key, change } in changes {
            let (current, previous) = match change {
                Change::Put(bytes) => {
                    let version = self.version(key.clone(), revision, bytes.clone());
                    let previous = state.shelf.insert(Arc::clone(&version));
                    (Some(version), previous)
                }
                Change::Delete => (None, state.shelf.remove(key)),
            };
            if current.is_some() || previous.is_some() {
                state.ring.push(revision, current, previous, &self.options);
            }
        }
        state.last = revision;
        let end = state.ring.end();
        drop(state);
        self.ticks.send_replace(end);
    }

    /// Starts over from a list, after the feed lost its place: every watcher must list again.
    pub(crate) fn reset(&self, revision: Revision, records: Vec<Record>) {
        let shelf = stock(&self.shared, records);
        let mut state = self.state.write();
        state.shelf = shelf;
        state.ring.restart(revision);
        state.last = revision;
        let end = state.ring.end();
        drop(state);
        self.ticks.send_replace(end);
    }

    /// Lets old events go.
    pub(crate) fn trim(&self) {
        self.state.write().ring.trim(&self.options);
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.state.write().closed = true;
        self.ticks.send_replace(u64::MAX);
    }

    fn version(&self, key: Key, revision: Revision, bytes: Bytes) -> Arc<Version> {
        Version::new(key, revision, bytes, Arc::clone(&self.shared))
    }
}

fn stock(shared: &Arc<Shared>, records: Vec<Record>) -> Shelf {
    let version = |record: Record| Version::new(record.key, record.revision, record.value, Arc::clone(shared));
    Shelf::from_sorted(records.into_iter().map(version).collect())
}
