//! What needs an etcd. The tests take turns: compaction is of the whole etcd, whatever the prefix.

use std::sync::Arc;
use std::time::Duration;

use meta::Revision;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::etcd::{Etcd, Options};
use crate::suite::Dice;
use crate::{Error, Feed, Outcome, Range, Store, Txn, suite};

static TURN: Mutex<()> = Mutex::new(());
const SOON: Duration = Duration::from_secs(10);

fn run<T>(test: impl Future<Output = T>) -> T {
    let _turn = TURN.lock();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// A store on the etcd that is named, in a corner that nobody has been to.
fn options() -> Options {
    let named =
        std::env::var("GANTRY_TEST_ETCD").expect("GANTRY_TEST_ETCD names no etcd, such as http://127.0.0.1:2379");
    let file = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|path| std::fs::read_to_string(path).expect("a PEM file"))
    };
    let identity = (file("GANTRY_TEST_ETCD_CERT"), file("GANTRY_TEST_ETCD_KEY"));
    Options {
        endpoints: named.split(',').map(str::to_owned).collect(),
        ca: file("GANTRY_TEST_ETCD_CA"),
        identity: identity.0.zip(identity.1),
        prefix: format!("/test-{}", std::process::id()) + "-" + &unique(),
        ..Options::default()
    }
}

fn unique() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    format!("{:x}", std::hash::RandomState::new().build_hasher().finish())
}

async fn connect(options: Options) -> Arc<Etcd> {
    Etcd::connect(options).await.expect("connecting to GANTRY_TEST_ETCD")
}

async fn put(store: &Etcd, key: &str) -> Revision {
    match store.commit(Txn::new().put(key, "x")).await.expect("commit") {
        Outcome::Done { revision } => revision,
        Outcome::Conflict { .. } => panic!("a conflict about nothing"),
    }
}

/// What the feed says until it is at a revision.
async fn follow(feed: &mut dyn Feed, to: Revision) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let batch = timeout(SOON, feed.next()).await.expect("soon").expect("a batch");
        keys.extend(batch.events.iter().map(|event| event.key.to_string()));
        if batch.revision >= to {
            return keys;
        }
    }
}

#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn keeps_the_contract() {
    run(async { suite::run(connect(options()).await, "/suite/", 1).await });
}

#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn is_like_a_model() {
    run(async {
        let store = connect(options()).await;
        for seed in 0..10 {
            suite::run_model(Arc::clone(&store) as Arc<dyn Store>, &format!("/{seed}/"), seed).await;
        }
    });
}

/// Others' writes move the revision, and the feed shows nothing of them.
#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn a_quiet_feed_keeps_up_with_others() {
    run(async {
        let (store, other) = (connect(options()).await, connect(options()).await);
        let start = put(&store, "/first").await;
        let mut feed = store.watch(start).await.expect("watch");
        for _ in 0..20 {
            let theirs = put(&other, "/theirs").await;
            let now = store.revision().await.expect("revision");
            assert!(now >= theirs);
            feed.request_progress().await.expect("request");
            assert_eq!(follow(&mut *feed, now).await, [""; 0]);
            let ours = put(&store, "/ours").await;
            assert_eq!(follow(&mut *feed, ours).await, ["/ours"]);
        }
    });
}

/// A feed that has much to catch up with is asked how far it is, while more is written: what it says never overtakes what it
/// has yet to tell.
#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn progress_never_overtakes_events() {
    run(async {
        let store = connect(options()).await;
        let mut written = vec![put(&store, "/first").await];
        for _ in 0..5 {
            let start = written[written.len() - 1];
            let mut expected = Vec::new();
            for _ in 0..50 {
                expected.push(put(&store, "/before").await);
            }
            let mut feed = store.watch(start).await.expect("watch");
            feed.request_progress().await.expect("request");
            let writer = Arc::clone(&store);
            let writing = tokio::spawn(async move {
                let mut written = Vec::new();
                for _ in 0..50 {
                    written.push(put(&writer, "/meanwhile").await);
                }
                written
            });
            let mut seen = Vec::new();
            let follow = async {
                while seen.len() < 100 {
                    feed.request_progress().await.expect("request");
                    let batch = feed.next().await.expect("a batch");
                    seen.extend((!batch.events.is_empty()).then_some(batch.revision));
                }
            };
            timeout(SOON, follow).await.expect("all events");
            expected.extend(writing.await.expect("the writer"));
            assert_eq!(seen, expected);
            written = expected;
        }
    });
}

#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn a_dead_member_is_passed_by() {
    run(async {
        let mut options = options();
        // Nobody listens there.
        options.endpoints.insert(
            0,
            options.endpoints[0].split("://").next().unwrap_or("http").to_owned() + "://127.0.0.1:1",
        );
        let store = connect(options.clone()).await;
        let revision = put(&store, "/a").await;
        let mut feed = store.watch(Revision(revision.0 - 1)).await.expect("watch");
        assert_eq!(follow(&mut *feed, revision).await, ["/a"]);

        options.endpoints.truncate(1);
        let nobody = Etcd::connect(options).await;
        assert!(matches!(&nobody, Err(Error::Unavailable(text)) if text.contains("127.0.0.1:1")));
    });
}

#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn records_that_end_together_share_a_lease() {
    run(async {
        let store = connect(options()).await;
        let hour = Duration::from_secs(3600);
        for name in ["/a", "/b", "/c"] {
            store.commit(Txn::new().put_for(name, "x", hour)).await.expect("commit");
        }
        let first = store
            .inner
            .leases
            .lease(&store.inner.members, hour)
            .await
            .expect("lease");
        // Revoked by hand, or lost with a snapshot: the next write gets another one.
        store.inner.leases.replace(hour, first + 1).await;
        store.commit(Txn::new().put_for("/d", "x", hour)).await.expect("commit");
        let second = store
            .inner
            .leases
            .lease(&store.inner.members, hour)
            .await
            .expect("lease");
        assert!(second != first && second != first + 1);
    });
}

/// A range that is longer than one answer is of one revision, however many write meanwhile.
#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn a_long_range_is_of_one_revision() {
    run(async {
        let store = connect(options()).await;
        const RECORDS: usize = 4500;
        for part in 0..RECORDS / 100 {
            let txn = (0..100).fold(Txn::new(), |txn, index| {
                txn.put(format!("/long/{:05}", part * 100 + index), "x")
            });
            store.commit(txn).await.expect("commit");
        }
        let writer = Arc::clone(&store);
        let writing = tokio::spawn(async move {
            let mut dice = Dice(1);
            loop {
                put(&writer, &format!("/long/{:05}", dice.below(RECORDS))).await;
            }
        });
        for limit in [0, RECORDS - 1] {
            let range = Range::prefix("/long/").limit(limit);
            let page = store.range(range).await.expect("range");
            assert_eq!(page.count as usize, RECORDS);
            assert_eq!(page.records.len(), if limit == 0 { RECORDS } else { limit });
            assert_eq!(page.more(), limit > 0);
            assert!(page.records.iter().all(|record| record.revision <= page.revision));
            assert!(page.records.is_sorted_by(|a, b| a.key < b.key));
        }
        writing.abort();
    });
}

#[test]
#[ignore = "needs an etcd: GANTRY_TEST_ETCD"]
fn old_history_is_forgotten() {
    run(async {
        let options = Options {
            keep_for: Duration::from_secs(1),
            ..options()
        };
        let store = connect(options).await;
        let old = put(&store, "/a").await;
        put(&store, "/a").await;
        let forgotten = async {
            while store.get("/a", Some(old)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(SOON, forgotten).await.expect("it is forgotten");
        let newest = store.revision().await.expect("revision");
        let error = store.get("/a", Some(old)).await.expect_err("compacted");
        assert!(matches!(error, Error::Compacted { oldest } if oldest > old && oldest <= newest));
        assert!(store.get("/a", None).await.expect("get").record.is_some());
    });
}
