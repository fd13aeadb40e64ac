//! The suite that every store has to pass, on a real directory.

use std::sync::Arc;

use meta::Revision;

use super::{block_on, small};
use crate::embedded::Options;
use crate::{Embedded, Error, Store, Txn, suite};

#[test]
fn keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let store = Embedded::open(dir.path(), Options::default()).expect("open");
        assert_eq!(store.revision().await.expect("revision"), Revision(1));
        suite::run(store, "/suite/", 1).await;
    });
}

#[test]
fn is_like_a_model_whatever_the_files_do() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        for seed in 0..40 {
            // Opened anew each time: what the last seeds left is read back from small segments and checkpoints.
            let store = Embedded::open(dir.path(), small()).expect("open");
            suite::run_model(Arc::clone(&store) as Arc<dyn Store>, &format!("/{seed}/"), seed).await;
            store.close();
        }
    });
}

#[test]
fn two_cannot_open_one_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Embedded::open(dir.path(), small()).expect("open");
    let second = Embedded::open(dir.path(), small());
    assert!(
        matches!(&second, Err(Error::Locked { pid, .. }) if *pid == std::process::id()),
        "{:?}",
        second.err()
    );
    first.close();
    drop(Embedded::open(dir.path(), small()).expect("open after it was closed"));
}

#[test]
fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let store = Embedded::open(dir.path(), small()).expect("open");
        let mut feed = store.watch(Revision(1)).await.expect("watch");
        store.commit(Txn::new().put("/a", "1")).await.expect("commit");
        store.close();
        assert!(matches!(
            store.commit(Txn::new().put("/a", "2")).await,
            Err(Error::Closed)
        ));
        assert!(matches!(store.get("/a", None).await, Err(Error::Closed)));
        assert_eq!(feed.next().await.expect("what happened before").revision, Revision(2));
        assert!(matches!(feed.next().await, Err(Error::Closed)));
    });
}

#[test]
fn history_and_expiry_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    block_on(async {
        let store = Embedded::open(dir.path(), small()).expect("open");
        for value in ["1", "2", "3"] {
            store.commit(Txn::new().put("/a", value)).await.expect("commit");
        }
        store.compact(Revision(3)).await.expect("compact");
        let second = std::time::Duration::from_secs(1);
        store
            .commit(Txn::new().put_for("/short", "x", second))
            .await
            .expect("commit");
        store.close();
        let store = Embedded::open(dir.path(), small()).expect("open again");
        let record = store
            .get("/a", Some(Revision(3)))
            .await
            .expect("the past")
            .record
            .expect("a record");
        assert_eq!(&record.value[..], b"2");
        assert!(matches!(
            store.get("/a", Some(Revision(2))).await,
            Err(Error::Compacted { oldest: Revision(3) })
        ));
        let mut feed = store.watch(Revision(3)).await.expect("watch");
        for revision in 4..=6 {
            assert_eq!(feed.next().await.expect("feed").revision, Revision(revision));
        }
        assert_eq!(
            store.get("/short", None).await.expect("get").record,
            None,
            "the last batch was its end"
        );
    });
}
