//! Caches over a real embedded store.

mod lists;
mod recovery;
mod sharing;
mod shelf;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use meta::Revision;
use store::{Embedded, Key, Outcome, Store, Txn};
use watch::{Cache, Delivery, Error, Hub, Kind, Options, Projection, Projector, Watcher};

/// A store, a hub over it, and the directory below them.
struct World {
    store: Arc<Embedded>,
    hub: Hub,
    _dir: tempfile::TempDir,
}

const PODS: &str = "/registry/core/pods/";

impl World {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Embedded::open(dir.path(), store::embedded::Options::default()).expect("open");
        let hub = Hub::start_with(Arc::clone(&store) as Arc<dyn Store>, options)
            .await
            .expect("hub");
        Self { store, hub, _dir: dir }
    }

    async fn pods(&self) -> Arc<Cache> {
        self.hub.cache(PODS, projector()).await.expect("cache")
    }

    async fn commit(&self, txn: Txn) -> Revision {
        commit(&*self.store, txn).await
    }

    async fn put(&self, name: &str, value: &str) -> Revision {
        self.commit(Txn::new().put(pod(name), value.to_owned())).await
    }

    async fn delete(&self, name: &str) -> Revision {
        self.commit(Txn::new().delete(pod(name))).await
    }
}

async fn commit(store: &dyn Store, txn: Txn) -> Revision {
    match store.commit(txn).await.expect("commit") {
        Outcome::Done { revision } => revision,
        conflict @ Outcome::Conflict { .. } => panic!("{conflict:?}"),
    }
}

fn pod(name: &str) -> String {
    format!("{PODS}{name}")
}

/// In these tests an object's bytes are its labels: `a=b,c=d`.
fn projector() -> Projector {
    Arc::new(|_: &Key, bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).expect("text");
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Projection {
            labels: pairs.map(|(key, value)| (key.into(), value.into())).collect(),
            ..Projection::default()
        }
    })
}

/// The next event: its kind, the name and bytes to show, and the revision.
async fn next(watcher: &mut Watcher) -> (Kind, String, String, Revision) {
    let delivery = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
    show(&delivery.expect("nothing for ten seconds").expect("an event"))
}

fn show(delivery: &Delivery) -> (Kind, String, String, Revision) {
    let object = delivery.object();
    let name = object.key().strip_prefix(PODS).expect("a pod").to_owned();
    (
        delivery.kind(),
        name,
        String::from_utf8_lossy(object.bytes()).into_owned(),
        delivery.revision(),
    )
}

fn is_expired<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Expired { .. }))
}
