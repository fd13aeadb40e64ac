//! A watcher that feeds a reflector's store: each event exactly once, and in the end what the server has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::task::JoinSet;

use crate::writer::{LIFETIME, Marks, PATIENCE, marks, write};

const WRITERS: usize = 5;

/// What the watcher was told.
#[derive(Default)]
struct Sightings {
    last: BTreeMap<String, Marks>,
    told: usize,
    /// How often the watcher listed anew after the first time; then it may miss versions in between.
    relists: usize,
    started: bool,
    error: Option<String>,
}

/// Writes, watches, compares.
pub(crate) async fn work(client: Client, namespace: &str, length: Duration) -> anyhow::Result<String> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let (reader, store) = reflector::store();
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Sightings::default()));
    let noting = seen.clone();
    let config = watcher::Config::default().labels("by=watched");
    let stream = watcher::watcher(api.clone(), config)
        .default_backoff()
        .reflect(store)
        .for_each(move |event| {
            // An error is a broken connection; the watcher goes on behind the last event.
            if let Ok(event) = event {
                noting.borrow_mut().note(&event);
            }
            std::future::ready(())
        });
    let working = async {
        reader.wait_until_ready().await?;
        let changes = write_all(&api, length).await?;
        settle(&api, &reader, &seen, changes).await
    };
    tokio::select! {
        () = stream => bail!("the watch ended"),
        result = working => result,
    }
}

async fn write_all(api: &Api<ConfigMap>, length: Duration) -> anyhow::Result<usize> {
    let labels = BTreeMap::from([("by".to_owned(), "watched".to_owned())]);
    let deadline = Instant::now() + length;
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        writers.spawn(write(api.clone(), format!("watched-{n}"), labels.clone(), deadline));
    }
    let mut changes = 0;
    while let Some(done) = writers.join_next().await {
        changes += done??;
    }
    Ok(changes)
}

async fn settle(
    api: &Api<ConfigMap>,
    reader: &Store<ConfigMap>,
    seen: &std::cell::RefCell<Sightings>,
    changes: usize,
) -> anyhow::Result<String> {
    let give_up = Instant::now() + PATIENCE;
    let listed = api.list(&ListParams::default().labels("by=watched")).await?;
    let versions = |objects: &[&ConfigMap]| -> BTreeMap<String, Option<String>> {
        objects
            .iter()
            .map(|object| (object.name_any(), object.resource_version()))
            .collect()
    };
    loop {
        let state = reader.state();
        let state: Vec<&ConfigMap> = state.iter().map(AsRef::as_ref).collect();
        let same = versions(&state) == versions(&listed.items.iter().collect::<Vec<_>>());
        if let Some(said) = seen.borrow().judge(changes, same, Instant::now() >= give_up)? {
            return Ok(said);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// === impl Sightings ===

impl Sightings {
    /// What can be said by now; none: not yet all was told.
    fn judge(&self, changes: usize, same: bool, last: bool) -> anyhow::Result<Option<String>> {
        if let Some(error) = &self.error {
            bail!("{error}");
        }
        ensure!(
            self.relists == 0,
            "the watcher had to list anew {} times: a revision that it resumed from was refused",
            self.relists
        );
        if same && self.told == changes {
            return Ok(Some(format!(
                "{changes} changes, each told once and in order, and the store is the same"
            )));
        }
        ensure!(
            !last,
            "{changes} changes were made, {} told; the store is {}the same",
            self.told,
            if same { "" } else { "not " }
        );
        Ok(None)
    }

    fn note(&mut self, event: &Event<ConfigMap>) {
        match event {
            Event::Init => {
                self.relists += usize::from(self.started);
                self.started = true;
            }
            Event::Apply(object) => {
                let was = self.last.get(&object.name_any()).copied().unwrap_or((0, LIFETIME));
                self.next("Apply", object, |(life, version)| {
                    (life, version) == (was.0, was.1 + 1) || (life, version) == (was.0 + 1, 1) && was.1 == LIFETIME
                });
            }
            Event::Delete(object) => {
                let was = self.last.get(&object.name_any()).copied();
                self.next("Delete", object, |marks| Some(marks) == was && marks.1 == LIFETIME);
            }
            Event::InitApply(_) | Event::InitDone => {}
        }
    }

    fn next(&mut self, what: &str, object: &ConfigMap, may: impl FnOnce(Marks) -> bool) {
        let Some(now) = marks(object) else { return };
        let name = object.name_any();
        if !may(now) && self.relists == 0 && self.error.is_none() {
            let was = self.last.get(&name);
            self.error = Some(format!("{what} of {name}: {now:?} (life, version) after {was:?}"));
        }
        self.last.insert(name, now);
        self.told += 1;
    }
}
