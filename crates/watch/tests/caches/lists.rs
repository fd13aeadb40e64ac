//! Lists: consistent, scoped, and never half a transaction.

use std::sync::Arc;

use meta::Revision;
use store::Txn;
use watch::{Cache, Scope, Selection, Snapshot};

use super::{World, next, pod};

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .iter()
        .map(|version| version.key().strip_prefix(super::PODS).expect("a pod"))
        .collect()
}

#[tokio::test]
async fn scopes_are_found_by_key() {
    let world = World::new().await;
    for name in ["a/x", "a/y", "a-b/x", "b/x", "b/x/y", "c/z"] {
        world.put(name, "").await;
    }
    world
        .commit(Txn::new().put("/registry/core/podtemplates/a/x", ""))
        .await;
    let pods = world.pods().await;
    pods.fresh().await.expect("fresh");
    assert_eq!(
        names(&pods.list(&Scope::All)),
        ["a-b/x", "a/x", "a/y", "b/x", "b/x/y", "c/z"]
    );
    assert_eq!(names(&pods.list(&Scope::namespace("a"))), ["a/x", "a/y"]);
    assert_eq!(names(&pods.list(&Scope::namespace("none"))), [""; 0]);
    assert_eq!(names(&pods.list(&Scope::object(Some("b"), "x"))), ["b/x"]);
    assert_eq!(names(&pods.list(&Scope::object(Some("b"), "none"))), [""; 0]);
    let all = pods.list(&Scope::All);
    assert_eq!(all.len(), 6);
    assert_eq!(names(&all.clone().after(&pod("a/y").into())), ["b/x", "b/x/y", "c/z"]);
    assert_eq!(names(&all.clone().after(&pod("zz").into())), [""; 0]);
    assert_eq!(
        pods.list(&Scope::namespace("a"))
            .get(&pod("b/x"))
            .map(|version| version.revision()),
        None
    );
    assert!(all.get(&pod("b/x")).is_some() && pods.get(&pod("b/x")).is_some() && pods.get(&pod("b/")).is_none());
}

#[tokio::test]
async fn a_fresh_list_has_what_was_acknowledged() {
    let world = World::new().await;
    let pods = world.pods().await;
    for round in 0..200 {
        let revision = world.put("a/x", &round.to_string()).await;
        assert!(pods.fresh().await.expect("fresh") >= revision);
        let list = pods.list(&Scope::All);
        assert!(list.revision() >= revision);
        assert_eq!(list.iter().next().map(|version| version.revision()), Some(revision));
    }
    let elsewhere = world.commit(Txn::new().put("/registry/core/nodes/n", "")).await;
    pods.wait_until(elsewhere).await.expect("wait");
    assert_eq!(
        pods.list(&Scope::All).revision(),
        elsewhere,
        "the revision moves by what other caches see too"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_whole_and_watches_follow_them() {
    let world = Arc::new(World::new().await);
    let pods = world.pods().await;
    let writer = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            for round in 0..2000u32 {
                let value = round.to_string();
                world
                    .commit(Txn::new().put(pod("a/x"), value.clone()).put(pod("b/x"), value))
                    .await;
            }
        }
    });
    let mut watched = 0;
    while !writer.is_finished() {
        watched += look(&pods).await;
    }
    writer.await.expect("the writer");
    assert!(watched > 20, "{watched}");
}

/// One list, and what a watch says next.
async fn look(pods: &Arc<Cache>) -> usize {
    let (list, mut watcher) = pods.list_and_watch(Selection::default()).expect("list and watch");
    let revisions: Vec<Revision> = list.iter().map(|version| version.revision()).collect();
    assert!(
        revisions.iter().all(|revision| *revision <= list.revision()),
        "nothing newer than the list"
    );
    assert!(
        revisions.windows(2).all(|pair| pair[0] == pair[1]),
        "never half a transaction"
    );
    assert!(watcher.progress() >= list.revision());
    let soon = tokio::time::timeout(std::time::Duration::from_millis(100), next(&mut watcher)).await;
    let Ok((_, name, value, revision)) = soon else { return 0 };
    assert_eq!(name, "a/x", "the transaction after the list, from its beginning");
    assert!(revision > list.revision());
    if let Some(version) = list.get(&pod("a/x")) {
        let before: u32 = String::from_utf8_lossy(version.bytes()).parse().expect("a number");
        assert_eq!(
            value,
            (before + 1).to_string(),
            "nothing between the list and the watch"
        );
    }
    1
}
