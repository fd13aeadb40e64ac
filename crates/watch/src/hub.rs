//! The hub: one feed of the store for all caches.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use meta::Revision;
use parking_lot::Mutex;
use store::{Batch, Change, Event, Feed, Range, Store};
use tokio::sync::{Notify, watch};

use crate::encodings::Budget;
use crate::version::Shared;
use crate::{Cache, Error, Projector};

/// What the latest batches, kept for caches that are still to come, may keep alive.
const RECENT_BYTES: usize = 4 << 20;

/// How much a hub keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// At most so many events in a cache.
    pub max_events: usize,
    /// So many events are always kept, whatever the other limits say.
    pub min_events: usize,
    /// What the events of a cache may keep alive, their encodings among it.
    pub max_bytes: usize,
    /// How long an event is kept.
    pub keep_for: Duration,
    /// What the encodings of versions may take in all caches together.
    pub encodings: usize,
    /// A new hub begins so many revisions back, so that watches go on over a restart of the server.
    pub resume: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_events: 50_000,
            min_events: 64,
            max_bytes: 32 << 20,
            keep_for: Duration::from_secs(300),
            encodings: 16 << 20,
            resume: 1000,
        }
    }
}

/// Feeds every cache from one watch of the store, in the order of revisions.
pub struct Hub {
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

struct Inner {
    store: Arc<dyn Store>,
    options: Options,
    budget: Arc<Budget>,
    progress: Arc<Progress>,
    routes: Mutex<Routes>,
    /// One cache is loaded at a time.
    loading: tokio::sync::Mutex<()>,
}

/// How far the feed is.
pub(crate) struct Progress {
    store: Arc<dyn Store>,
    /// `None` after the hub has stopped.
    reached: watch::Sender<Option<Revision>>,
    /// Somebody waits for a revision that the feed may not show by itself.
    ask: Notify,
}

/// The caches by prefix, and the latest batches for those that are still to come.
struct Routes {
    caches: BTreeMap<String, Arc<Cache>>,
    recent: VecDeque<Batch>,
    size: usize,
    /// Every batch after this one is in `recent`.
    floor: Revision,
    /// While a cache is being loaded no batch is let go.
    hold: bool,
}

impl Hub {
    /// Starts with the default options.
    pub async fn start(store: Arc<dyn Store>) -> Result<Self, Error> {
        Self::start_with(store, Options::default()).await
    }

    /// Starts following the store; returns when everything up to now has been seen.
    pub async fn start_with(store: Arc<dyn Store>, options: Options) -> Result<Self, Error> {
        let newest = store.revision().await?;
        let mut from = Revision(newest.0.saturating_sub(options.resume).max(1).min(newest.0));
        let feed = loop {
            match store.watch(from).await {
                Ok(feed) => break feed,
                Err(store::Error::Compacted { oldest }) if oldest > from => from = oldest,
                Err(error) => return Err(error.into()),
            }
        };
        let reached = watch::Sender::new(Some(from));
        let progress = Arc::new(Progress {
            store: Arc::clone(&store),
            reached,
            ask: Notify::new(),
        });
        let routes = Routes {
            caches: BTreeMap::new(),
            recent: VecDeque::new(),
            size: 0,
            floor: from,
            hold: false,
        };
        let inner = Arc::new(Inner {
            store,
            budget: Arc::new(Budget::new(options.encodings)),
            options,
            progress,
            routes: Mutex::new(routes),
            loading: tokio::sync::Mutex::new(()),
        });
        let task = tokio::spawn(Arc::clone(&inner).follow(feed));
        let hub = Self { inner, task };
        hub.inner.progress.wait_until(newest).await?;
        Ok(hub)
    }

    /// The cache of everything under a prefix (which ends in `/`); made and filled on the first call, the same one
    /// afterwards. No prefix may lie under another one.
    pub async fn cache(&self, prefix: &str, project: Projector) -> Result<Arc<Cache>, Error> {
        let _one_at_a_time = self.inner.loading.lock().await;
        if let Some(cache) = self.inner.routes.lock().caches.get(prefix) {
            return Ok(Arc::clone(cache));
        }
        let hold = Hold::new(&self.inner);
        self.inner.load(prefix, project, hold.oldest).await
    }

    /// Fills a cache anew from the store, when the layer below would now show the same values otherwise. Its watches end, as
    /// after a lost feed. Does nothing when there is none.
    pub async fn refill(&self, prefix: &str) -> Result<(), Error> {
        let _one_at_a_time = self.inner.loading.lock().await;
        let cache = self.inner.routes.lock().caches.get(prefix).cloned();
        let Some(cache) = cache else { return Ok(()) };
        let _hold = Hold::new(&self.inner);
        let page = self.inner.store.range(Range::prefix(prefix)).await?;
        // What the page has must not be delivered after it.
        self.inner.progress.wait_until(page.revision).await?;
        let routes = self.inner.routes.lock();
        cache.reset(page.revision, page.records);
        routes.replay(&cache, page.revision);
        Ok(())
    }

    /// Gives a cache up: its memory is freed and its watches end. Does nothing when there is none.
    pub fn forget(&self, prefix: &str) {
        let cache = self.inner.routes.lock().caches.remove(prefix);
        if let Some(cache) = cache {
            cache.close();
        }
    }

    /// The revision up to which all caches have everything.
    pub fn revision(&self) -> Revision {
        self.inner.progress.revision()
    }

    /// Waits until all caches have everything that was acknowledged before this call.
    pub async fn fresh(&self) -> Result<Revision, Error> {
        self.inner.progress.fresh().await
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
        self.inner.stop();
    }
}

/// Keeps the batches after `oldest` at hand for as long as it lives.
struct Hold<'a> {
    inner: &'a Inner,
    oldest: Revision,
}

impl<'a> Hold<'a> {
    fn new(inner: &'a Inner) -> Self {
        let mut routes = inner.routes.lock();
        routes.hold = true;
        Self {
            inner,
            oldest: routes.floor,
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.inner.routes.lock().hold = false;
    }
}

// === impl Progress ===

impl Progress {
    pub(crate) fn revision(&self) -> Revision {
        self.reached.borrow().unwrap_or_default()
    }

    pub(crate) async fn wait_until(&self, revision: Revision) -> Result<(), Error> {
        let mut reached = self.reached.subscribe();
        let is_there = |reached: &Option<Revision>| reached.is_none_or(|reached| reached >= revision);
        if !is_there(&reached.borrow()) {
            self.ask.notify_one();
        }
        let reached = reached.wait_for(is_there).await.map_err(|_| Error::Closed)?;
        reached.map(|_| ()).ok_or(Error::Closed)
    }

    pub(crate) async fn fresh(&self) -> Result<Revision, Error> {
        let revision = self.store.revision().await?;
        self.wait_until(revision).await?;
        Ok(revision)
    }
}

// === impl Inner ===

impl Inner {
    /// Follows the feed for as long as the hub lives.
    async fn follow(self: Arc<Self>, mut feed: Box<dyn Feed>) {
        let mut trim = tokio::time::interval(Duration::from_secs(60));
        loop {
            let result = tokio::select! {
                batch = feed.next() => batch.map(|batch| self.apply(&batch)),
                () = self.progress.ask.notified() => feed.request_progress().await,
                _ = trim.tick() => {
                    self.trim();
                    Ok(())
                }
            };
            if let Err(error) = result {
                tracing::warn!(%error, "the store's feed has ended; opening another one");
                match self.reopen().await {
                    Some(next) => feed = next,
                    None => break,
                }
            }
        }
        self.stop();
    }

    /// Another feed that goes on where the last one ended; `None` when the store is closed.
    async fn reopen(&self) -> Option<Box<dyn Feed>> {
        let mut pause = Duration::from_millis(50);
        loop {
            let opened = match self.store.watch(self.progress.revision()).await {
                Err(store::Error::Compacted { .. }) => self.reload().await,
                other => other.map_err(Error::from),
            };
            match opened {
                Ok(feed) => return Some(feed),
                Err(Error::Closed | Error::Store(store::Error::Closed)) => return None,
                Err(error) => tracing::warn!(%error, "the store cannot be watched; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Starts all caches over from lists, when the changes since the last batch are lost.
    async fn reload(&self) -> Result<Box<dyn Feed>, Error> {
        let _one_at_a_time = self.loading.lock().await;
        let revision = self.store.revision().await?;
        let caches: Vec<Arc<Cache>> = self.routes.lock().caches.values().cloned().collect();
        for cache in caches {
            let page = self.store.range(Range::prefix(cache.prefix()).at(revision)).await?;
            cache.reset(revision, page.records);
        }
        self.routes.lock().restart(revision);
        let feed = self.store.watch(revision).await?;
        self.progress.reached.send_replace(Some(revision));
        Ok(feed)
    }

    fn apply(&self, batch: &Batch) {
        let mut routes = self.routes.lock();
        if !batch.events.is_empty() {
            routes.deliver(batch);
            routes.remember(batch, self.options.resume);
        }
        drop(routes);
        self.progress.reached.send_if_modified(|reached| match reached {
            Some(reached) if *reached < batch.revision => {
                *reached = batch.revision;
                true
            }
            _ => false,
        });
    }

    /// Fills a new cache: the state as the oldest batch at hand found it, and then those batches; so a watch can begin
    /// in the past of a cache that has just been made.
    async fn load(&self, prefix: &str, project: Projector, oldest: Revision) -> Result<Arc<Cache>, Error> {
        let page = match self.store.range(Range::prefix(prefix).at(oldest)).await {
            Err(store::Error::Compacted { .. }) => {
                self.store
                    .range(Range::prefix(prefix).at(self.progress.revision()))
                    .await?
            }
            other => other?,
        };
        let shared = Arc::new(Shared {
            project,
            budget: Arc::clone(&self.budget),
        });
        let (options, progress) = (self.options.clone(), Arc::clone(&self.progress));
        let cache = Arc::new(Cache::new(
            prefix.to_owned(),
            shared,
            options,
            progress,
            page.revision,
            page.records,
        ));
        let mut routes = self.routes.lock();
        routes.replay(&cache, page.revision);
        routes.caches.insert(prefix.to_owned(), Arc::clone(&cache));
        Ok(cache)
    }

    fn trim(&self) {
        let caches: Vec<Arc<Cache>> = self.routes.lock().caches.values().cloned().collect();
        caches.iter().for_each(|cache| cache.trim());
    }

    fn stop(&self) {
        self.progress.reached.send_replace(None);
        let caches = std::mem::take(&mut self.routes.lock().caches);
        caches.values().for_each(|cache| cache.close());
    }
}

// === impl Routes ===

impl Routes {
    /// Gives a batch to the caches that it concerns, each one all its changes at once.
    fn deliver(&self, batch: &Batch) {
        let mut changes: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in batch.events.iter() {
            if let Some((prefix, _)) = self.route(&event.key) {
                changes.entry(prefix).or_default().push(event);
            }
        }
        for (prefix, changes) in changes {
            if let Some(cache) = self.caches.get(prefix) {
                cache.apply(batch.revision, changes.into_iter());
            }
        }
    }

    /// The cache that a key belongs to: as no prefix lies under another, the last one that is not after the key.
    fn route(&self, key: &str) -> Option<(&str, &Arc<Cache>)> {
        let (prefix, cache) = self
            .caches
            .range::<str, _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()?;
        key.starts_with(prefix.as_str()).then_some((prefix.as_str(), cache))
    }

    /// Gives a cache the batches at hand that came after a revision.
    fn replay(&self, cache: &Cache, after: Revision) {
        for batch in self.recent.iter().filter(|batch| batch.revision > after) {
            let mut changes = batch
                .events
                .iter()
                .filter(|event| event.key.starts_with(cache.prefix()))
                .peekable();
            if changes.peek().is_some() {
                cache.apply(batch.revision, changes);
            }
        }
    }

    fn remember(&mut self, batch: &Batch, at_most: u64) {
        self.recent.push_back(batch.clone());
        self.size += size(batch);
        while !self.hold && (self.recent.len() as u64 > at_most || self.size > RECENT_BYTES) {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.size -= size(&oldest);
            self.floor = oldest.revision;
        }
    }

    fn restart(&mut self, floor: Revision) {
        self.recent.clear();
        self.size = 0;
        self.floor = floor;
    }
}

/// What a batch keeps alive.
fn size(batch: &Batch) -> usize {
    let value = |event: &Event| match &event.change {
        Change::Put(bytes) => bytes.len(),
        Change::Delete => 0,
    };
    batch.events.iter().map(|event| value(event) + 64).sum()
}
