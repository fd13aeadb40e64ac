//! Watches: what they begin with, bookmarks, selections, and revisions that are gone.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use server::{Body, User};

use crate::world::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}})
}

pub(crate) struct Stream {
    body: Body,
    rest: Vec<u8>,
}

impl Stream {
    async fn open(world: &World, query: &str) -> Stream {
        Stream::of(world, MAPS, query).await
    }

    pub(crate) async fn of(world: &World, path: &str, query: &str) -> Stream {
        let request = Request::get(format!("{path}?watch=true&{query}"))
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = world.send(User::admin(), request).await;
        assert_eq!(response.status(), 200);
        Stream {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame())
                .await
                .expect("an event in time");
            self.rest.extend_from_slice(&frame?.unwrap().into_data().unwrap());
        }
    }

    pub(crate) async fn expect(&mut self, kind: &str, name: &str) {
        let event = self.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!(kind), &json!(name)),
            "{event}"
        );
    }
}

#[tokio::test]
async fn events_come_in_order_and_enter_and_leave_selections() {
    let world = World::new().await;
    world.post(MAPS, &map("old", "1")).await.expect(201);
    let mut all = Stream::open(&world, "").await;
    all.expect("ADDED", "old").await;
    let list = world.get(MAPS).await.expect(200);
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut one = Stream::open(&world, &format!("resourceVersion={revision}&labelSelector=l%3D1")).await;
    world.post(MAPS, &map("new", "2")).await.expect(201);
    let path = format!("{MAPS}/new");
    world
        .patch("merge-patch+json", &path, &json!({"metadata": {"labels": {"l": "1"}}}))
        .await
        .expect(200);
    world
        .patch("merge-patch+json", &path, &json!({"metadata": {"labels": {"l": "2"}}}))
        .await
        .expect(200);
    world.delete(&path).await.expect(200);
    for kind in ["ADDED", "MODIFIED", "MODIFIED", "DELETED"] {
        all.expect(kind, "new").await;
    }
    one.expect("ADDED", "new").await;
    one.expect("DELETED", "new").await;
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let world = World::new().await;
    world.post(MAPS, &map("x", "1")).await.expect(201);
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let mut stream = Stream::open(&world, query).await;
    stream.expect("ADDED", "x").await;
    let mark = stream.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(
        mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let list = world.get(MAPS).await.expect(200);
    assert_eq!(
        mark["object"]["metadata"]["resourceVersion"],
        list["metadata"]["resourceVersion"]
    );
    assert_eq!(
        stream.next().await.unwrap()["type"],
        "BOOKMARK",
        "one more before the timeout"
    );
    assert_eq!(stream.next().await, None);
    world
        .get(&format!("{MAPS}?watch=true&sendInitialEvents=true"))
        .await
        .expect(422);
}
