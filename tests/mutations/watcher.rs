//! Who watches: notes what it sees, and when its connection ends goes on after the last revision that it has seen. It
//! never lists.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde_json::Value;
use testkit::seed::Seed;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ledger::What;
use super::server::Life;
use super::sorts::{Sort, key, revision};
use crate::stage::{PATIENCE, within};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) what: What,
    pub(crate) revision: u64,
    pub(crate) key: String,
    pub(crate) object: Value,
}

/// How a watcher asks.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) selector: String,
    /// It leaves by itself after a few events each time, and its watches are short.
    pub(crate) fickle: Option<Seed>,
}

/// A watcher that goes on by itself.
pub(crate) struct Watcher {
    pub(crate) what: String,
    notes: Arc<Notes>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Notes {
    events: Mutex<VecDeque<Event>>,
    seen: watch::Sender<u64>,
    /// Why it can't be right any more.
    wrong: Mutex<Option<String>>,
    tally: Mutex<BTreeMap<&'static str, u64>>,
}

impl Watcher {
    /// Watches from this revision on, in all lives of the server.
    pub(crate) fn start(sort: &'static Sort, manner: Manner, from: u64, lives: watch::Receiver<Option<Life>>) -> Self {
        let notes = Arc::new(Notes::default());
        notes.seen.send_replace(from);
        let what = format!(
            "{} {}",
            sort.plural,
            if manner.fickle.is_some() {
                "(fickle)"
            } else {
                &manner.selector
            }
        );
        let task = tokio::spawn(go_on(sort, manner, Arc::clone(&notes), lives));
        Self { what, notes, task }
    }

    /// Waits until it has seen a revision.
    pub(crate) async fn seen(&self, to: u64) {
        let mut progress = self.notes.seen.subscribe();
        let there = async {
            // It also ends when something is wrong, which is told when the events are taken.
            let _ = progress.wait_for(|now| *now >= to).await;
        };
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            let seen = *self.notes.seen.borrow();
            self.notes
                .fail(format!("it is at {seen} and doesn't see {to}; {:?}", self.tally()));
        }
    }

    /// Takes what it saw up to a revision.
    pub(crate) fn take(&self, to: u64) -> Result<Vec<Event>, String> {
        if let Some(why) = self.notes.wrong.lock().unwrap().clone() {
            return Err(format!("the watcher of {}: {why}", self.what));
        }
        let mut events = self.notes.events.lock().unwrap();
        let count = events.iter().take_while(|event| event.revision <= to).count();
        Ok(events.drain(..count).collect())
    }

    /// How often it connected, and what it was told.
    pub(crate) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.notes.tally.lock().unwrap().clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notes {
    fn count(&self, what: &'static str) {
        *self.tally.lock().unwrap().entry(what).or_default() += 1;
    }

    fn fail(&self, why: String) {
        self.wrong.lock().unwrap().get_or_insert(why);
        self.seen.send_replace(u64::MAX);
    }

    /// Takes an event down; false when it can't follow the last one.
    fn note(&self, event: Event) -> bool {
        let last = *self.seen.borrow();
        if event.revision <= last {
            self.fail(format!("{event:?} after revision {last}"));
            return false;
        }
        let now = event.revision;
        self.events.lock().unwrap().push_back(event);
        self.count("events");
        self.seen.send_replace(now);
        true
    }
}

async fn go_on(sort: &'static Sort, mut manner: Manner, notes: Arc<Notes>, mut lives: watch::Receiver<Option<Life>>) {
    let mut number = 0;
    loop {
        let life = match lives
            .wait_for(|life| life.as_ref().is_some_and(|life| life.number > number))
            .await
        {
            Ok(life) => life.clone().expect("a life"),
            Err(_) => return,
        };
        // In one life it may connect as often as it likes; with the connection refused, that life is over.
        while let Ok(()) = watch_once(&life.client, sort, &mut manner, &notes).await {
            if notes.wrong.lock().unwrap().is_some() {
                return;
            }
        }
        number = life.number;
    }
}

/// One connection; an error when there is none to be had any more.
async fn watch_once(client: &Client, sort: &Sort, manner: &mut Manner, notes: &Notes) -> Result<(), ()> {
    let from = *notes.seen.borrow();
    let limit = manner.fickle.as_mut().map(|seed| 1 + seed.below(30));
    // A short one ends with a bookmark.
    let seconds = if limit.is_some() { 1 } else { 600 };
    let mut stream = open(client, sort, &manner.selector, from, seconds)
        .await
        .map_err(|error| {
            if let kube::Error::Api(status) = &error {
                notes.fail(format!("refused from {from}: {status:?}"));
            }
        })?;
    notes.count("connections");
    let mut count = 0;
    // The end of a stream is looked into by connecting again.
    while let Ok(Some(event)) = stream.try_next().await {
        let event = match event {
            WatchEvent::Added(object) => (What::Added, object),
            WatchEvent::Modified(object) => (What::Modified, object),
            WatchEvent::Deleted(object) => (What::Deleted, object),
            WatchEvent::Bookmark(bookmark) => {
                let now = bookmark.metadata.resource_version.parse().unwrap_or(0);
                notes.count("bookmarks");
                if now < *notes.seen.borrow() {
                    notes.fail(format!("a bookmark at {now} after {}", *notes.seen.borrow()));
                }
                notes
                    .seen
                    .send_if_modified(|seen| std::mem::replace(seen, now.max(*seen)) < now);
                continue;
            }
            WatchEvent::Error(status) => {
                notes.fail(format!("an error after {}: {status:?}", *notes.seen.borrow()));
                return Ok(());
            }
        };
        count += 1;
        if !notes.note(of(event)) || limit == Some(count) {
            return Ok(());
        }
    }
    Ok(())
}

fn of((what, object): (What, Value)) -> Event {
    Event {
        what,
        revision: revision(&object),
        key: key(&object),
        object,
    }
}

async fn open(
    client: &Client,
    sort: &Sort,
    selector: &str,
    from: u64,
    seconds: u32,
) -> kube::Result<impl futures::TryStream<Ok = WatchEvent<Value>, Error = kube::Error> + Unpin> {
    let path = format!(
        "{}?watch=1&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds={seconds}&labelSelector={selector}",
        sort.everywhere(),
    );
    let stream = client
        .request_events::<Value>(Request::get(path).body(Vec::new()).unwrap())
        .await?;
    Ok(Box::pin(stream))
}

/// What a watcher that comes now sees of the time between two revisions; the second one is an event's.
pub(crate) async fn replay(client: &Client, sort: &Sort, from: u64, to: u64) -> Result<Vec<Event>, String> {
    let seeing = async {
        let mut events = Vec::new();
        let mut stream = open(client, sort, "", from, 600)
            .await
            .map_err(|error| error.to_string())?;
        while let Some(event) = stream.try_next().await.map_err(|error| error.to_string())? {
            let event = match event {
                WatchEvent::Added(object) => of((What::Added, object)),
                WatchEvent::Modified(object) => of((What::Modified, object)),
                WatchEvent::Deleted(object) => of((What::Deleted, object)),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => return Err(format!("replaying {from} to {to}: {status:?}")),
            };
            let last = event.revision >= to;
            events.push(event);
            if last {
                return Ok(events);
            }
        }
        Err(format!("replaying {from} to {to} ended early"))
    };
    within(&format!("the replay of {}", sort.plural), seeing).await
}
