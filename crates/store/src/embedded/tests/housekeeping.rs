//! History and files stay bounded, and what is kept can still be read.

use std::time::{Duration, Instant};

use meta::Revision;

use super::sim::Sim;
use super::{block_on, small};
use crate::embedded::Options;
use crate::{Embedded, Error, Range, Store, Txn};

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn files_stay_bounded() {
    block_on(async {
        let disk = Sim::default();
        let options = Options {
            keep_revisions: 50,
            ..small()
        };
        let store = Embedded::open_on(disk.media(), options.clone()).expect("open");
        for round in 0..3000u32 {
            let txn = Txn::new().put(format!("/{:02}", round % 20), format!("{round:0200}"));
            store.commit(txn).await.expect("commit");
        }
        let most = 80_000;
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.stats().disk_bytes >= most || store.stats().history > 60 {
            assert!(Instant::now() < deadline, "{:?}", store.stats());
            store.commit(Txn::new().put("/more", "x")).await.expect("commit");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let all = store.range(Range::prefix("/")).await.expect("range").records;
        let past = Revision(store.stats().revision.0 - 20);
        let old = store
            .range(Range::prefix("/").at(past))
            .await
            .expect("the past")
            .records;
        store.close();
        assert!(
            disk.files().iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() < 2 * most,
            "{:?}",
            disk.names()
        );

        let store = Embedded::open_on(disk.media(), options).expect("open again");
        assert_eq!(store.range(Range::prefix("/")).await.expect("range").records, all);
        assert_eq!(
            store
                .range(Range::prefix("/").at(past))
                .await
                .expect("the past")
                .records,
            old
        );
    });
}

#[test]
fn history_ages() {
    block_on(async {
        let options = Options {
            keep_for: Duration::from_millis(200),
            tick: Duration::from_millis(20),
            ..small()
        };
        let store = Embedded::open_on(Sim::default().media(), options).expect("open");
        for value in 0..10 {
            store
                .commit(Txn::new().put("/a", value.to_string()))
                .await
                .expect("commit");
        }
        let first = store.get("/a", Some(Revision(2))).await.expect("still there").record;
        assert_eq!(first.map(|record| record.revision), Some(Revision(2)));
        tokio::time::sleep(Duration::from_millis(250)).await;
        store.commit(Txn::new().put("/b", "x")).await.expect("commit");
        until("that history ages", || store.stats().compacted > Revision(2)).await;
        let old = store.get("/a", Some(Revision(2))).await;
        assert!(matches!(old, Err(Error::Compacted { .. })), "{old:?}");
    });
}

#[test]
fn a_slow_feed_reads_from_the_log() {
    block_on(async {
        let store = Embedded::open_on(Sim::default().media(), small()).expect("open");
        let mut feed = store.watch(Revision(1)).await.expect("watch");
        let commits = (0..3000).map(|index| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .commit(Txn::new().put(format!("/{}", index % 50), vec![b'x'; 900]))
                    .await
            })
        });
        for commit in commits.collect::<Vec<_>>() {
            commit.await.expect("a task").expect("commit");
        }
        for revision in 2..=3001 {
            assert_eq!(feed.next().await.expect("feed").revision, Revision(revision));
        }
    });
}
