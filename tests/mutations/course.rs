//! What happened to a kind's objects, as three watchers tell it, held against each other, against the server's state,
//! and against what the writers were told.

use std::collections::BTreeMap;

use kube::Client;
use serde_json::Value;
use testkit::seed::Seed;
use tokio::sync::watch;

use super::deeds::left;
use super::ledger::{Change, What, items};
use super::server::{Life, get};
use super::sorts::{SIDE, Sort, revision, side};
use super::watcher::{Event, Manner, Watcher, replay};
use super::writer::{Contender, count};

/// One kind's course.
pub(crate) struct Course {
    pub(crate) sort: &'static Sort,
    steady: Watcher,
    fickle: Watcher,
    /// It sees one half only.
    half: Watcher,
    /// The objects as of `base`, by the events alone.
    state: BTreeMap<String, Value>,
    base: u64,
    /// How far the contenders' object was counted.
    count: u64,
}

/// The server's state of a kind after a kill, and a revision that all watchers must come to see.
pub(crate) struct Found {
    pub(crate) revision: u64,
    pub(crate) items: Vec<(String, Value)>,
    pub(crate) fence: u64,
    /// What one who comes now is told of the time since the last check.
    pub(crate) replayed: Option<Vec<Event>>,
}

impl Course {
    pub(crate) async fn start(
        sort: &'static Sort,
        client: &Client,
        lives: &watch::Receiver<Option<Life>>,
        seed: Seed,
    ) -> Self {
        let list = get(client, &sort.everywhere()).await.unwrap();
        let (base, items) = (revision(&list), items(sort, &list));
        let watcher = |selector: String, fickle| Watcher::start(sort, Manner { selector, fickle }, base, lives.clone());
        Self {
            sort,
            steady: watcher(String::new(), None),
            fickle: watcher(String::new(), Some(seed)),
            half: watcher(left(), None),
            state: items.into_iter().collect(),
            base,
            count: 0,
        }
    }

    /// Reads the state.
    pub(crate) async fn list(&self, client: &Client) -> Result<Found, String> {
        let list = get(client, &self.sort.everywhere()).await?;
        Ok(Found {
            revision: revision(&list),
            items: items(self.sort, &list),
            fence: 0,
            replayed: None,
        })
    }

    /// What one who comes now is told of the time since the last check.
    pub(crate) async fn replay(&self, client: &Client, to: u64) -> Result<Vec<Event>, String> {
        replay(client, self.sort, self.base, to).await
    }

    /// Waits until the watchers have seen a revision.
    pub(crate) async fn seen(&self, to: u64) {
        for watcher in self.watchers() {
            watcher.seen(to).await;
        }
    }

    /// What the watchers have met with.
    pub(crate) fn tally(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.watchers().into_iter().flat_map(Watcher::tally)
    }

    fn watchers(&self) -> [&Watcher; 3] {
        [&self.steady, &self.fickle, &self.half]
    }

    /// Holds everything against everything, up to the list.
    pub(crate) fn check(&mut self, found: Found, changes: Vec<Change>) -> Result<Vec<Event>, String> {
        let to = found.revision;
        if to < self.base {
            return Err(format!(
                "a list of {} at {to} after one at {}",
                self.sort.plural, self.base
            ));
        }
        let events = self.steady.take(to)?;
        same("a fickle watcher", &events, &self.fickle.take(to)?)?;
        if let Some(mut replayed) = found.replayed {
            replayed.retain(|event| event.revision <= to);
            same("one who comes later", &events, &replayed)?;
        }
        let half = self.fold(&events)?;
        let seen = self.half.take(to)?;
        same("a watcher with a selector", &half, &seen)?;
        let listed: BTreeMap<String, Value> = found.items.into_iter().collect();
        if listed != self.state {
            let missing = listed.iter().find(|(key, object)| self.state.get(*key) != Some(object));
            let more = self.state.iter().find(|(key, _)| !listed.contains_key(*key));
            return Err(format!(
                "{} by events and by a list differ: {missing:?}, {more:?}",
                self.sort.plural
            ));
        }
        match self.sort.shared {
            true => told_among(&events, changes)?,
            false => told_exactly(&events, changes, self.sort)?,
        }
        self.base = to;
        Ok(events)
    }

    /// Lets the events happen, and answers what is seen of them through the selection of one half.
    fn fold(&mut self, events: &[Event]) -> Result<Vec<Event>, String> {
        let mut seen = Vec::new();
        for event in events {
            let before = match event.what {
                What::Deleted => self.state.remove(&event.key),
                _ => self.state.insert(event.key.clone(), event.object.clone()),
            };
            if before.is_some() == (event.what == What::Added) {
                return Err(format!("{event:?} of {before:?}"));
            }
            let is_left = |object: &Value| object["metadata"]["labels"][SIDE] == side(0);
            let was = before.as_ref().is_some_and(is_left);
            let is = event.what != What::Deleted && is_left(&event.object);
            let what = match (was, is) {
                (false, true) => What::Added,
                (true, true) => What::Modified,
                (true, false) => What::Deleted,
                (false, false) => continue,
            };
            let mut shown = Event { what, ..event.clone() };
            if let (What::Deleted, What::Modified, Some(before)) = (what, event.what, before) {
                // As it was when it was last inside, at the revision of its leaving.
                shown.object = before;
                shown.object["metadata"]["resourceVersion"] = event.revision.to_string().into();
            }
            seen.push(shown);
        }
        Ok(seen)
    }

    /// Each increment is there once, and none is missing.
    pub(crate) fn counted(&mut self, events: &[Event], contenders: &mut [Contender]) -> Result<(), String> {
        let mut values = BTreeMap::new();
        for event in events.iter().filter(|event| event.key == "default/counter") {
            let now = count(&event.object);
            if now != self.count + 1 {
                return Err(format!("the counter went from {} to {now}", self.count));
            }
            self.count = now;
            values.insert(now, event.revision);
        }
        for (value, revision) in contenders.iter_mut().flat_map(|contender| contender.told.drain(..)) {
            if values.get(&value) != Some(&revision) {
                return Err(format!(
                    "the counter's {value} was acknowledged at {revision}: {:?}",
                    values.get(&value)
                ));
            }
        }
        Ok(())
    }
}

fn same(who: &str, events: &[Event], others: &[Event]) -> Result<(), String> {
    if events == others {
        return Ok(());
    }
    let at = events
        .iter()
        .zip(others)
        .take_while(|(one, other)| one == other)
        .count();
    Err(format!(
        "{who} saw {} events for {}; the first that differs: {:?} for {:?}",
        others.len(),
        events.len(),
        others.get(at),
        events.get(at),
    ))
}

/// Whether an event is the one that a change stands for.
fn is(event: &Event, change: &Change) -> bool {
    event.what == change.what
        && change.revision.is_none_or(|revision| event.revision == revision)
        && change.body.as_ref().is_none_or(|body| event.object == *body)
}

/// Nobody else writes these objects: each change has one event, in its place, and there are no others.
fn told_exactly(events: &[Event], changes: Vec<Change>, sort: &Sort) -> Result<(), String> {
    let mut of_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    let own = format!("/of-{}-", sort.plural);
    for event in events.iter().filter(|event| event.key.contains(&own)) {
        of_key.entry(&event.key).or_default().push(event);
    }
    let mut told: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in &changes {
        told.entry(&change.key).or_default().push(change);
    }
    for key in of_key.keys().chain(told.keys()) {
        let seen = of_key.get(key).map_or(&[][..], Vec::as_slice);
        let told = told.get(key).map_or(&[][..], Vec::as_slice);
        let at = seen
            .iter()
            .zip(told)
            .take_while(|(event, change)| is(event, change))
            .count();
        if at < seen.len().max(told.len()) {
            return Err(format!(
                "{} {key}: {} changes, {} events; at {at}: {:?} was seen as {:?}",
                sort.plural,
                told.len(),
                seen.len(),
                told.get(at),
                seen.get(at),
            ));
        }
    }
    Ok(())
}

/// Others write too: each change has its one event among theirs.
fn told_among(events: &[Event], changes: Vec<Change>) -> Result<(), String> {
    for change in &changes {
        let fits = |event: &&Event| event.key == change.key && is(event, change);
        let count = events.iter().filter(fits).count();
        if count != 1 && change.revision.is_some() {
            return Err(format!("{change:?} was seen {count} times"));
        }
    }
    for what in [What::Added, What::Deleted] {
        let told = changes.iter().filter(|change| change.what == what).count();
        let own = |event: &&Event| event.what == what && event.key.contains("/of-deployments-") && is_own(event);
        let seen = events.iter().filter(own).count();
        if told != seen {
            return Err(format!(
                "{told} objects were {what:?}, and {seen} were seen: {changes:?}"
            ));
        }
    }
    Ok(())
}

/// Not one that a controller has made of it.
fn is_own(event: &Event) -> bool {
    event.object["kind"] == "Deployment"
}
