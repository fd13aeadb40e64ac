//! What the feed promises.

use std::sync::Arc;
use std::time::Duration;

use meta::Revision;

use super::{Bench, text};
use crate::{Change, Feed, Txn};

/// One revision's changes under the bench's prefix: names with their values, or without when deleted.
pub(crate) type Told = (Revision, Vec<(String, Option<String>)>);

impl Bench {
    async fn feed(&self, after: Revision) -> Box<dyn Feed> {
        self.store.watch(after).await.expect("watch")
    }

    /// The next batch that has something under the prefix.
    pub(crate) async fn told(&self, feed: &mut dyn Feed) -> Told {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), feed.next()).await;
            let batch = next.expect("the feed says nothing for ten seconds").expect("feed");
            let events = batch.events.iter().filter_map(|event| {
                let name = event.key.strip_prefix(&*self.prefix)?.to_owned();
                Some(match &event.change {
                    Change::Put(value) => (name, Some(text(value))),
                    Change::Delete => (name, None),
                })
            });
            let events: Vec<_> = events.collect();
            if !events.is_empty() {
                return (batch.revision, events);
            }
        }
    }
}

fn put(name: &str, value: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(value.to_owned()))
}

fn gone(name: &str) -> (String, Option<String>) {
    (name.to_owned(), None)
}

pub(crate) async fn a_watch_tells_everything_in_order(bench: Bench) {
    let start = bench.put("z", "before").await;
    let mut live = bench.feed(start).await;
    let one = bench.put("a", "1").await;
    let both = Txn::new()
        .put(bench.key("b"), "2")
        .delete(bench.key("none"))
        .delete(bench.key("a"));
    let two = bench.commit(both.put(bench.key("c"), "3")).await;
    bench.commit(Txn::new().delete(bench.key("none"))).await;
    let three = bench.put("b", "4").await;
    let expected = [
        (one, vec![put("a", "1")]),
        (two, vec![put("b", "2"), gone("a"), put("c", "3")]),
        (three, vec![put("b", "4")]),
    ];
    let mut late = bench.feed(start).await;
    for expected in expected {
        assert_eq!(bench.told(&mut *live).await, expected);
        assert_eq!(bench.told(&mut *late).await, expected);
    }
}

pub(crate) async fn a_watch_resumes_anywhere(bench: Bench) {
    let mut revisions = vec![bench.put("n", "0").await];
    for number in 1..30 {
        revisions.push(bench.put("n", &number.to_string()).await);
    }
    for (index, revision) in revisions.iter().enumerate().take(29) {
        let told = bench.told(&mut *bench.feed(*revision).await).await;
        assert_eq!(told, (revisions[index + 1], vec![put("n", &(index + 1).to_string())]));
    }
}

pub(crate) async fn a_watch_waits(bench: Bench) {
    let mut feed = bench.feed(bench.revision().await).await;
    let bench = Arc::new(bench);
    let writer = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bench.put("late", "1").await
        }
    });
    // Giving up waiting loses nothing.
    let _too_soon = tokio::time::timeout(Duration::from_millis(10), bench.told(&mut *feed)).await;
    let told = bench.told(&mut *feed).await;
    assert_eq!(told, (writer.await.expect("the writer"), vec![put("late", "1")]));
}

pub(crate) async fn progress_is_told(bench: Bench) {
    let revision = bench.put("a", "1").await;
    let mut feed = bench.feed(revision).await;
    feed.request_progress().await.expect("request");
    let seen = async {
        loop {
            let batch = feed.next().await.expect("feed");
            assert!(batch.revision >= revision);
            if batch.events.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen)
        .await
        .expect("progress within ten seconds");
}

pub(crate) async fn a_ttl_ends_a_record(bench: Bench) {
    let second = Duration::from_secs(1);
    let txn = Txn::new()
        .put_for(bench.key("short"), "1", second)
        .put_for(bench.key("kept"), "1", second);
    let start = bench.commit(txn.put_for(bench.key("long"), "1", 3600 * second)).await;
    let mut feed = bench.feed(start).await;
    let kept = bench.put("kept", "2").await;
    assert_eq!(bench.told(&mut *feed).await, (kept, vec![put("kept", "2")]));
    let ended = tokio::time::timeout(61 * second, feed_until_gone(&bench, &mut *feed))
        .await
        .expect("it ends");
    assert!(ended > kept, "its end is an ordinary delete");
    assert_eq!(bench.get("short").await, None);
    tokio::time::sleep(second / 2).await;
    let names = bench.store.range(bench.range()).await.expect("range");
    assert_eq!(
        bench.names(&names.records),
        [("kept".into(), "2".into()), ("long".into(), "1".into())]
    );
}

async fn feed_until_gone(bench: &Bench, feed: &mut dyn Feed) -> Revision {
    loop {
        let batch = feed.next().await.expect("feed");
        let is_it = |event: &crate::Event| event.key.as_str() == bench.key("short") && event.change == Change::Delete;
        if batch.events.iter().any(is_it) {
            return batch.revision;
        }
    }
}
