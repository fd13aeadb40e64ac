//! What transactions promise.

use std::sync::Arc;

use bytes::Bytes;
use meta::Revision;

use super::{Bench, text};
use crate::{Error, MAX_OPS, MAX_TXN_BYTES, Outcome, Txn};

pub(crate) async fn put_get_delete(bench: Bench) {
    assert!(
        bench.revision().await >= Revision(1),
        "an empty store is not at revision 0"
    );
    assert_eq!(bench.get("a").await, None);
    let first = bench.put("a", "1").await;
    let record = bench.get("a").await.expect("what was put");
    assert_eq!((text(&record.value).as_str(), record.revision), ("1", first));
    let second = bench.put("a", "2").await;
    assert!(second > first);
    assert_eq!(
        bench
            .get("a")
            .await
            .map(|record| (text(&record.value), record.revision)),
        Some(("2".into(), second))
    );
    let third = bench.delete("a").await;
    assert!(third > second);
    assert_eq!(bench.get("a").await, None);
    assert!(bench.revision().await >= third);
    let empty = bench.commit(Txn::new().put(bench.key("empty"), Bytes::new())).await;
    assert_eq!(
        bench
            .get("empty")
            .await
            .map(|record| (record.value.len(), record.revision)),
        Some((0, empty))
    );
}

pub(crate) async fn comparisons_decide(bench: Bench) {
    let key = bench.key("a");
    let created = bench
        .commit(Txn::new().expect_absent(key.clone()).put(key.clone(), "1"))
        .await;
    let again = bench
        .store
        .commit(Txn::new().expect_absent(key.clone()).put(key.clone(), "x"))
        .await;
    let Ok(Outcome::Conflict { revision, current }) = again else {
        panic!("a second create: {again:?}")
    };
    assert!(revision >= created);
    let current: Vec<_> = current
        .into_iter()
        .map(|record| record.map(|r| (text(&r.value), r.revision)))
        .collect();
    assert_eq!(current, [Some(("1".to_owned(), created))]);

    let updated = bench
        .commit(Txn::new().expect(key.clone(), created).put(key.clone(), "2"))
        .await;
    let stale = Txn::new()
        .expect(bench.key("none"), Revision(0))
        .expect(key.clone(), created)
        .delete(key.clone());
    let Ok(Outcome::Conflict { current, .. }) = bench.store.commit(stale).await else {
        panic!("a stale delete")
    };
    assert_eq!(current.len(), 2, "one for each comparison, in their order");
    assert_eq!(current[0], None);
    assert_eq!(current[1].as_ref().map(|record| record.revision), Some(updated));
    assert_eq!(
        bench.get("a").await.map(|record| record.revision),
        Some(updated),
        "a conflict changes nothing"
    );

    bench
        .commit(Txn::new().expect(key.clone(), updated).delete(key.clone()))
        .await;
    let gone = bench
        .store
        .commit(Txn::new().expect(key.clone(), updated).put(key.clone(), "3"))
        .await;
    assert!(
        matches!(gone, Ok(Outcome::Conflict { ref current, .. }) if current == &[None]),
        "{gone:?}"
    );
    // A key can be compared without being written, and written without being compared.
    bench
        .commit(Txn::new().expect_absent(key).put(bench.key("b"), "4"))
        .await;
    assert_eq!(bench.get("b").await.map(|record| text(&record.value)), Some("4".into()));
}

pub(crate) async fn a_transaction_has_one_revision(bench: Bench) {
    bench.put("old", "1").await;
    let mut txn = Txn::new().delete(bench.key("old"));
    for index in 0..MAX_OPS - 1 {
        txn = txn.put(bench.key(&format!("{index:03}")), index.to_string());
    }
    let revision = bench.commit(txn).await;
    let page = bench.store.range(bench.range()).await.expect("range");
    assert_eq!(page.records.len(), MAX_OPS - 1);
    assert!(page.records.iter().all(|record| record.revision == revision));
}

pub(crate) async fn what_changes_nothing_takes_no_revision(bench: Bench) {
    let revision = bench.put("a", "1").await;
    assert!(bench.commit(Txn::new()).await >= revision);
    assert!(bench.delete("none").await >= revision);
    assert_eq!(bench.get("a").await.map(|record| record.revision), Some(revision));
    // The same value again is a change: its revision is new.
    let again = bench.put("a", "1").await;
    assert!(again > revision);
    assert_eq!(bench.get("a").await.map(|record| record.revision), Some(again));
}

pub(crate) async fn limits_hold(bench: Bench) {
    let before = bench.store.range(bench.range()).await.expect("range").count;
    let many = (0..=MAX_OPS).fold(Txn::new(), |txn, index| txn.put(bench.key(&index.to_string()), "x"));
    assert!(matches!(bench.store.commit(many).await, Err(Error::TooLarge { .. })));
    let large = Txn::new().put(bench.key("large"), vec![b'x'; MAX_TXN_BYTES + 1]);
    assert!(matches!(bench.store.commit(large).await, Err(Error::TooLarge { .. })));
    let twice = Txn::new().put(bench.key("a"), "1").delete(bench.key("a"));
    assert!(matches!(bench.store.commit(twice).await, Err(Error::Invalid(_))));
    assert!(matches!(
        bench.store.commit(Txn::new().put("", "1")).await,
        Err(Error::Invalid(_))
    ));
    let after = bench.store.range(bench.range()).await.expect("range").count;
    assert_eq!(before, after, "what is refused changes nothing");

    let value: Bytes = (0..1 << 20)
        .map(|index: u32| (index % 251) as u8)
        .collect::<Vec<u8>>()
        .into();
    bench.commit(Txn::new().put(bench.key("mebibyte"), value.clone())).await;
    assert!(bench.get("mebibyte").await.is_some_and(|record| record.value == value));
}

/// Many tasks count up one number, each by comparing what it read.
pub(crate) async fn nobody_overtakes_a_comparison(bench: Bench) {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 25;
    let bench = Arc::new(bench);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| tokio::spawn(count(Arc::clone(&bench), ROUNDS)))
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.extend(task.await.expect("a counting task"));
    }
    assert_eq!(
        bench.get("n").await.map(|record| text(&record.value)),
        Some((TASKS * ROUNDS).to_string())
    );
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(
        revisions.len() as u64,
        TASKS * ROUNDS,
        "no two transactions have the same revision"
    );
}

async fn count(bench: Arc<Bench>, rounds: u64) -> Vec<Revision> {
    let (key, mut revisions) = (bench.key("n"), Vec::new());
    let mut known = bench.get("n").await;
    while (revisions.len() as u64) < rounds {
        let number: u64 = known
            .as_ref()
            .map_or(0, |record| text(&record.value).parse().expect("a number"));
        let revision = known.as_ref().map_or(Revision(0), |record| record.revision);
        let txn = Txn::new()
            .expect(key.clone(), revision)
            .put(key.clone(), (number + 1).to_string());
        known = match bench.store.commit(txn).await.expect("commit") {
            Outcome::Done { revision } => {
                revisions.push(revision);
                bench.get("n").await
            }
            Outcome::Conflict { current, .. } => current.into_iter().next().flatten(),
        };
    }
    revisions
}

pub(crate) async fn a_writer_reads_what_it_wrote(bench: Bench) {
    let bench = Arc::new(bench);
    let tasks = (0..16).map(|task| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move {
            for round in 0..10 {
                let (name, value) = (format!("t{task}"), round.to_string());
                let revision = bench.put(&name, &value).await;
                let record = bench.get(&name).await.expect("just written");
                assert_eq!((text(&record.value), record.revision), (value, revision));
                assert!(bench.revision().await >= revision);
                let page = bench.store.range(bench.range()).await.expect("range");
                assert!(page.revision >= revision);
                assert!(page.records.contains(&record), "a range has it too");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a writer");
    }
}
