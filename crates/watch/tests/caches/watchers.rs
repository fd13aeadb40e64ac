//! Watchers: kinds as the selection sees them, order, resuming, falling behind.

use std::sync::Arc;
use std::time::Duration;

use meta::Revision;
use store::Txn;
use watch::{Error, Filter, Kind, Options, Scope, Selection, Version};

use super::{World, is_expired, next, pod, show};

fn red() -> Arc<dyn Filter> {
    Arc::new(|version: &Version| version.projection().label("color") == Some("red"))
}

fn event(kind: Kind, name: &str, bytes: &str, revision: Revision) -> (Kind, String, String, Revision) {
    (kind, name.to_owned(), bytes.to_owned(), revision)
}

#[tokio::test]
async fn kinds_of_events() {
    let world = World::new().await;
    let pods = world.pods().await;
    let mut watcher = pods.watch(pods.revision(), Selection::default()).expect("watch");
    let one = world.put("a/x", "1").await;
    let two = world.put("a/x", "2").await;
    let three = world.delete("a/x").await;
    let four = world.put("a/x", "3").await;
    assert_eq!(next(&mut watcher).await, event(Kind::Added, "a/x", "1", one));
    assert_eq!(next(&mut watcher).await, event(Kind::Modified, "a/x", "2", two));
    assert_eq!(next(&mut watcher).await, event(Kind::Deleted, "a/x", "2", three));
    assert_eq!(next(&mut watcher).await, event(Kind::Added, "a/x", "3", four));
}

#[tokio::test]
async fn entering_and_leaving_a_selection() {
    let world = World::new().await;
    let pods = world.pods().await;
    let selection = Selection::new(Scope::namespace("a")).with_filter(red());
    let mut watcher = pods.watch(pods.revision(), selection).expect("watch");
    world.put("b/x", "color=red").await;
    world.put("a/x", "color=blue").await;
    let entered = world.put("a/x", "color=red").await;
    let stayed = world.put("a/x", "color=red,size=1").await;
    let left = world.put("a/x", "color=blue,size=2").await;
    world.delete("a/x").await;
    let again = world.put("a/x", "color=red").await;
    let deleted = world.delete("a/x").await;
    assert_eq!(
        next(&mut watcher).await,
        event(Kind::Added, "a/x", "color=red", entered)
    );
    assert_eq!(
        next(&mut watcher).await,
        event(Kind::Modified, "a/x", "color=red,size=1", stayed)
    );
    assert_eq!(
        next(&mut watcher).await,
        event(Kind::Deleted, "a/x", "color=red,size=1", left)
    );
    assert_eq!(next(&mut watcher).await, event(Kind::Added, "a/x", "color=red", again));
    assert_eq!(
        next(&mut watcher).await,
        event(Kind::Deleted, "a/x", "color=red", deleted)
    );
    assert!(watcher.try_next().expect("open").is_none());
}

#[tokio::test]
async fn a_watch_resumes_after_any_revision() {
    let world = World::new().await;
    let pods = world.pods().await;
    let start = pods.revision();
    let mut revisions = Vec::new();
    for index in 0..50 {
        revisions.push(world.put("a/x", &index.to_string()).await);
    }
    pods.fresh().await.expect("fresh");
    let mut after = start;
    for (index, revision) in revisions.iter().enumerate() {
        let mut watcher = pods.watch(after, Selection::default()).expect("watch");
        let (_, _, bytes, told) = next(&mut watcher).await;
        assert_eq!((bytes, told), (index.to_string(), *revision));
        after = told;
    }
}

#[tokio::test]
async fn a_watch_that_begins_in_the_future_waits_for_it() {
    let world = World::new().await;
    let pods = world.pods().await;
    let future = Revision(pods.revision().0 + 2);
    let mut watcher = pods.watch(future, Selection::default()).expect("watch");
    assert_eq!(watcher.progress(), future);
    for value in ["1", "2", "3"] {
        world.put("a/x", value).await;
    }
    assert_eq!(next(&mut watcher).await.2, "3");
}

#[tokio::test]
async fn who_falls_behind_is_told() {
    let options = Options {
        max_events: 10,
        min_events: 1,
        ..Options::default()
    };
    let world = World::with(options).await;
    let pods = world.pods().await;
    let start = pods.revision();
    let mut slow = pods.watch(start, Selection::default()).expect("watch");
    let mut last = start;
    for index in 0..11 {
        last = world.put("a/x", &index.to_string()).await;
    }
    pods.fresh().await.expect("fresh");
    assert!(is_expired(&slow.next().await));
    assert!(is_expired(&pods.watch(start, Selection::default())));
    let oldest = Revision(last.0 - 10);
    let mut watcher = pods
        .watch(oldest, Selection::default())
        .expect("the oldest that is left");
    assert_eq!(next(&mut watcher).await.2, "1");
}

#[tokio::test]
async fn the_ring_is_bounded_by_bytes_and_encodings() {
    let options = Options {
        max_bytes: 20_000,
        min_events: 2,
        ..Options::default()
    };
    let world = World::with(options).await;
    let pods = world.pods().await;
    let start = pods.revision();
    let mut watcher = pods.watch(start, Selection::default()).expect("watch");
    for _ in 0..8 {
        world.put("a/x", "1").await;
        let delivery = watcher.next().await.expect("event");
        let encode = |_: &_| Ok::<_, Error>(vec![b'x'; 4000].into());
        delivery.encoded(watch::Slot(1), encode).expect("encoded");
    }
    assert!(is_expired(&pods.watch(start, Selection::default())), "encodings count");
    assert!(pods.watch(watcher.progress(), Selection::default()).is_ok());
}

#[tokio::test]
async fn progress_is_what_a_bookmark_may_say() {
    let world = World::new().await;
    let pods = world.pods().await;
    let start = pods.revision();
    let mut watcher = pods.watch(start, Selection::new(Scope::namespace("a"))).expect("watch");
    assert_eq!(watcher.progress(), start);
    let elsewhere = world.commit(Txn::new().put("/registry/core/nodes/n", "")).await;
    pods.wait_until(elsewhere).await.expect("wait");
    assert_eq!(watcher.progress(), elsewhere, "what happens elsewhere is progress");
    let mine = world.put("a/x", "1").await;
    pods.wait_until(mine).await.expect("wait");
    assert_eq!(watcher.progress(), elsewhere, "not beyond what was not given yet");
    next(&mut watcher).await;
    assert_eq!(watcher.progress(), mine);
    let other = world.put("b/x", "1").await;
    pods.wait_until(other).await.expect("wait");
    assert!(watcher.try_next().expect("open").is_none());
    assert_eq!(watcher.progress(), other);
}

#[tokio::test]
async fn a_watcher_sleeps_until_there_is_something() {
    let world = World::new().await;
    let pods = world.pods().await;
    let mut watcher = pods.watch(pods.revision(), Selection::default()).expect("watch");
    let too_soon = tokio::time::timeout(Duration::from_millis(20), watcher.next()).await;
    assert!(too_soon.is_err(), "giving up loses nothing");
    let waiting = tokio::spawn(async move { watcher.next().await.map(|delivery| show(&delivery)) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let revision = world.put("a/x", "1").await;
    let told = waiting.await.expect("the watcher").expect("event");
    assert_eq!(told, event(Kind::Added, "a/x", "1", revision));
}

#[tokio::test]
async fn a_cache_that_is_forgotten_ends_its_watches() {
    let world = World::new().await;
    let pods = world.pods().await;
    let mut watcher = pods.watch(pods.revision(), Selection::default()).expect("watch");
    world.hub.forget(super::PODS);
    assert!(matches!(watcher.next().await, Err(Error::Closed)));
    world.put("a/x", "1").await;
    let again = world.pods().await;
    again.fresh().await.expect("fresh");
    assert!(again.get(&pod("a/x")).is_some());
}
