//! What is made once is made once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use watch::{Delivery, Error, Kind, Options, Scope, Selection, Slot};

use super::World;

#[tokio::test]
async fn an_event_is_encoded_once_for_all_watchers() {
    let world = World::new().await;
    let pods = world.pods().await;
    let mut watchers: Vec<_> = (0..100)
        .map(|_| pods.watch(pods.revision(), Selection::default()).expect("watch"))
        .collect();
    world.put("a/x", "1").await;
    let made = AtomicUsize::new(0);
    let encode = |delivery: &Delivery| {
        made.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Error>(Bytes::copy_from_slice(delivery.object().bytes()))
    };
    let mut lines = Vec::new();
    for watcher in &mut watchers {
        let delivery = watcher.next().await.expect("event");
        lines.push(delivery.encoded(Slot(1), encode).expect("encoded"));
        delivery.encoded(Slot(2), encode).expect("encoded");
    }
    assert_eq!(made.load(Ordering::Relaxed), 2, "once for each format");
    assert!(
        lines.iter().all(|line| line.as_ptr() == lines[0].as_ptr()),
        "and shared"
    );
}

#[tokio::test]
async fn each_kind_has_an_encoding_of_its_own() {
    let world = World::new().await;
    let pods = world.pods().await;
    let start = pods.revision();
    let red = |version: &watch::Version| version.projection().label("color") == Some("red");
    let mut all = pods.watch(start, Selection::default()).expect("watch");
    let mut some = pods
        .watch(start, Selection::default().with_filter(Arc::new(red)))
        .expect("watch");
    world.put("a/x", "color=blue").await;
    world.put("a/x", "color=red").await;
    all.next().await.expect("added");
    let encode = |delivery: &Delivery| Ok::<_, Error>(Bytes::from(format!("{:?}", delivery.kind())));
    let modified = all
        .next()
        .await
        .expect("modified")
        .encoded(Slot(0), encode)
        .expect("encoded");
    let added = some
        .next()
        .await
        .expect("added")
        .encoded(Slot(0), encode)
        .expect("encoded");
    assert_eq!((&modified[..], &added[..]), (&b"Modified"[..], &b"Added"[..]));
}

#[tokio::test]
async fn bytes_are_those_of_the_store() {
    let world = World::new().await;
    let pods = world.pods().await;
    world.put("a/x", "a value that is kept once").await;
    pods.fresh().await.expect("fresh");
    let stored = store::Store::get(&*world.store, &super::pod("a/x"), None)
        .await
        .expect("get")
        .record
        .expect("there");
    let version = pods.get(&super::pod("a/x")).expect("there");
    assert_eq!(version.bytes().as_ptr(), stored.value.as_ptr());
    assert_eq!(version.key().as_ptr(), stored.key.as_ptr());
}

#[tokio::test]
async fn encodings_of_versions_stay_within_their_room() {
    let options = Options {
        encodings: 10_000,
        ..Options::default()
    };
    let world = World::with(options).await;
    let pods = world.pods().await;
    for index in 0..30 {
        world.put(&format!("a/{index:02}"), "1").await;
    }
    pods.fresh().await.expect("fresh");
    let made = AtomicUsize::new(0);
    let list = pods.list(&Scope::All);
    let encode = |_: &_| {
        made.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Error>(Bytes::from(vec![b'x'; 1000]))
    };
    let versions: Vec<_> = list.iter().collect();
    for _ in 0..3 {
        versions[0].encoded(Slot(1), encode).expect("encoded");
    }
    assert_eq!(made.swap(0, Ordering::Relaxed), 1, "kept while there is room");
    for version in &versions {
        version.encoded(Slot(1), encode).expect("encoded");
    }
    made.store(0, Ordering::Relaxed);
    versions[29].encoded(Slot(1), encode).expect("encoded");
    assert_eq!(made.load(Ordering::Relaxed), 0, "the latest are kept");
    versions[0].encoded(Slot(1), encode).expect("encoded");
    assert_eq!(made.load(Ordering::Relaxed), 1, "the oldest went");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_see_everything() {
    let world = World::new().await;
    let pods = world.pods().await;
    let start = pods.revision();
    let made = Arc::new(AtomicUsize::new(0));
    let tasks = (0..1000).map(|_| {
        let mut watcher = pods.watch(start, Selection::default()).expect("watch");
        let made = Arc::clone(&made);
        tokio::spawn(async move {
            for index in 0..100 {
                let delivery = watcher.next().await.expect("event");
                assert_eq!(delivery.kind() == Kind::Added, index == 0);
                let line = delivery.encoded(Slot(0), |delivery| {
                    made.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Error>(delivery.object().bytes().clone())
                });
                assert_eq!(line.expect("encoded"), index.to_string());
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for index in 0..100 {
        world.put("a/x", &index.to_string()).await;
    }
    for task in tasks {
        task.await.expect("a watcher");
    }
    assert_eq!(made.load(Ordering::Relaxed), 100);
}
