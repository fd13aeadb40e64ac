//! The hub over a store that fails, forgets or restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use meta::Revision;
use store::{Batch, Embedded, Feed, Got, Outcome, Page, Range, Store, Txn};
use watch::{Hub, Kind, Scope, Selection};

use super::{PODS, commit, is_expired, next, pod, projector};

/// A store whose feeds can be cut.
struct Fragile {
    store: Arc<Embedded>,
    cut: Arc<AtomicBool>,
}

struct FragileFeed {
    feed: Box<dyn Feed>,
    cut: Arc<AtomicBool>,
}

fn gone() -> store::Error {
    store::Error::Unavailable("cut".into())
}

#[async_trait]
impl Store for Fragile {
    async fn revision(&self) -> Result<Revision, store::Error> {
        self.store.revision().await
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, store::Error> {
        self.store.get(key, at).await
    }

    async fn range(&self, range: Range) -> Result<Page, store::Error> {
        self.store.range(range).await
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, store::Error> {
        self.store.commit(txn).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Feed>, store::Error> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(gone());
        }
        Ok(Box::new(FragileFeed {
            feed: self.store.watch(after).await?,
            cut: Arc::clone(&self.cut),
        }))
    }

    async fn compact(&self, revision: Revision) -> Result<(), store::Error> {
        self.store.compact(revision).await
    }
}

#[async_trait]
impl Feed for FragileFeed {
    async fn next(&mut self) -> Result<Batch, store::Error> {
        loop {
            if self.cut.load(Ordering::Relaxed) {
                return Err(gone());
            }
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(5), self.feed.next()).await {
                return batch;
            }
        }
    }

    async fn request_progress(&mut self) -> Result<(), store::Error> {
        self.feed.request_progress().await
    }
}

async fn fragile(dir: &tempfile::TempDir) -> (Arc<Fragile>, Hub) {
    let store = Embedded::open(dir.path(), store::embedded::Options::default()).expect("open");
    let fragile = Arc::new(Fragile {
        store,
        cut: Arc::default(),
    });
    let hub = Hub::start(Arc::clone(&fragile) as Arc<dyn Store>).await.expect("hub");
    (fragile, hub)
}

#[tokio::test]
async fn a_feed_that_ends_is_opened_again_without_a_gap() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, hub) = fragile(&dir).await;
    let pods = hub.cache(PODS, projector()).await.expect("cache");
    let mut watcher = pods.watch(pods.revision(), Selection::default()).expect("watch");
    for round in 0..3 {
        commit(&*store, Txn::new().put(pod("a/x"), format!("{round} before"))).await;
        store.cut.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        commit(&*store, Txn::new().put(pod("a/x"), format!("{round} while"))).await;
        store.cut.store(false, Ordering::Relaxed);
        assert_eq!(next(&mut watcher).await.2, format!("{round} before"));
        assert_eq!(next(&mut watcher).await.2, format!("{round} while"));
    }
}

#[tokio::test]
async fn after_a_compacted_gap_everybody_lists_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, hub) = fragile(&dir).await;
    let pods = hub.cache(PODS, projector()).await.expect("cache");
    let nodes = hub.cache("/registry/core/nodes/", projector()).await.expect("cache");
    commit(&*store, Txn::new().put(pod("a/x"), "1")).await;
    let start = pods.fresh().await.expect("fresh");
    let mut watcher = pods.watch(start, Selection::default()).expect("watch");
    store.cut.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let txn = Txn::new()
        .delete(pod("a/x"))
        .put(pod("a/y"), "2")
        .put("/registry/core/nodes/n", "3");
    commit(&*store, txn).await;
    let last = commit(&*store, Txn::new().put(pod("a/z"), "4")).await;
    store.compact(last).await.expect("compact");
    store.cut.store(false, Ordering::Relaxed);

    pods.wait_until(last).await.expect("it comes back");
    assert!(is_expired(&watcher.next().await));
    assert!(is_expired(&pods.watch(start, Selection::default())));
    let keys: Vec<_> = pods
        .list(&Scope::All)
        .iter()
        .map(|version| version.key().to_string())
        .collect();
    assert_eq!(keys, [pod("a/y"), pod("a/z")]);
    assert_eq!(nodes.list(&Scope::All).len(), 1);
    let mut watcher = pods.watch(last, Selection::default()).expect("watch");
    commit(&*store, Txn::new().put(pod("a/y"), "5")).await;
    assert_eq!(next(&mut watcher).await.0, Kind::Modified);
}

#[tokio::test]
async fn watches_go_on_over_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, hub) = fragile(&dir).await;
    let mut revisions = Vec::new();
    for index in 0..20 {
        revisions.push(
            commit(
                &*store,
                Txn::new().put(pod(&format!("a/{}", index % 3)), index.to_string()),
            )
            .await,
        );
    }
    drop(hub);
    store.store.close();
    let (store, hub) = fragile(&dir).await;
    let pods = hub.cache(PODS, projector()).await.expect("cache");
    let mut watcher = pods
        .watch(revisions[9], Selection::default())
        .expect("a watch from before the restart");
    for (index, revision) in revisions.iter().enumerate().skip(10) {
        let (kind, _, bytes, told) = next(&mut watcher).await;
        assert_eq!((kind, bytes, told), (Kind::Modified, index.to_string(), *revision));
    }
    let newest = commit(&*store, Txn::new().put(pod("a/9"), "new")).await;
    assert_eq!(next(&mut watcher).await.3, newest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_made_under_load_misses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, hub) = fragile(&dir).await;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for index in 0..3000 {
                let key = format!("/registry/group{}/things/{}", index % 10, index % 100);
                commit(&*store, Txn::new().put(key, index.to_string())).await;
            }
        }
    });
    let mut caches = Vec::new();
    for index in 0..10 {
        caches.push(
            hub.cache(&format!("/registry/group{index}/"), projector())
                .await
                .expect("cache"),
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writer.await.expect("the writer");
    hub.fresh().await.expect("fresh");
    for cache in caches {
        let page = store.range(Range::prefix(cache.prefix())).await.expect("range");
        let stored: Vec<_> = page
            .records
            .iter()
            .map(|record| (record.revision, record.value.clone()))
            .collect();
        let list = cache.list(&Scope::All);
        let cached: Vec<_> = list
            .iter()
            .map(|version| (version.revision(), version.bytes().clone()))
            .collect();
        assert_eq!(cached, stored);
    }
}

#[tokio::test]
async fn a_closed_store_closes_the_caches() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, hub) = fragile(&dir).await;
    let pods = hub.cache(PODS, projector()).await.expect("cache");
    let mut watcher = pods.watch(pods.revision(), Selection::default()).expect("watch");
    store.store.close();
    assert!(matches!(watcher.next().await, Err(watch::Error::Closed)));
    assert!(matches!(
        pods.wait_until(Revision(u64::MAX)).await,
        Err(watch::Error::Closed)
    ));
}

/// A store that shows values in capitals once it is told to.
struct Louder {
    store: Arc<Embedded>,
    loud: AtomicBool,
}

#[async_trait]
impl Store for Louder {
    async fn revision(&self) -> Result<Revision, store::Error> {
        self.store.revision().await
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, store::Error> {
        self.store.get(key, at).await
    }

    async fn range(&self, range: Range) -> Result<Page, store::Error> {
        let mut page = self.store.range(range).await?;
        if self.loud.load(Ordering::Relaxed) {
            for record in &mut page.records {
                record.value = record.value.to_ascii_uppercase().into();
            }
        }
        Ok(page)
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, store::Error> {
        self.store.commit(txn).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Feed>, store::Error> {
        self.store.watch(after).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), store::Error> {
        self.store.compact(revision).await
    }
}

#[tokio::test]
async fn a_cache_is_filled_anew_and_misses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(dir.path(), store::embedded::Options::default()).expect("open");
    let louder = Arc::new(Louder {
        store,
        loud: AtomicBool::default(),
    });
    let hub = Hub::start(Arc::clone(&louder) as Arc<dyn Store>).await.expect("hub");
    let pods = hub.cache(PODS, projector()).await.expect("cache");
    commit(&*louder, Txn::new().put(pod("a/x"), "a=b")).await;
    let start = pods.fresh().await.expect("fresh");
    let mut watcher = pods.watch(start, Selection::default()).expect("watch");
    louder.loud.store(true, Ordering::Relaxed);
    commit(&*louder, Txn::new().put(pod("a/y"), "c=d")).await;
    hub.refill(PODS).await.expect("refill");
    assert!(is_expired(&watcher.next().await));
    let shown = |name: &str| pods.get(&pod(name)).expect("it is there").bytes().clone();
    assert_eq!((&shown("a/x")[..], &shown("a/y")[..]), (&b"A=B"[..], &b"C=D"[..]));
    assert_eq!(
        pods.get(&pod("a/x")).expect("it is there").projection().label("A"),
        Some("B")
    );
    let mut watcher = pods.watch(pods.revision(), Selection::default()).expect("watch");
    commit(&*louder, Txn::new().put(pod("a/z"), "e=f")).await;
    assert_eq!(next(&mut watcher).await.0, Kind::Added);
    hub.refill("/registry/core/nodes/").await.expect("there is none");
}
