//! Deletes what has lost its owners, and carries out foreground and orphaning deletion.
//!
//! It watches the metadata of every resource that discovery shows. Owners that it has not seen are looked up before
//! anything is deleted for their absence.

mod graph;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::{Backoff, Change, Informer, ObjectKey};
use futures::FutureExt as _;
use hashbrown::{HashMap, HashSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::discover::{self, Found, Resource};
use crate::write::{Kind, Patch, Writer};

use self::graph::{Graph, Step};

pub(crate) use self::graph::Row;

/// So long it is waited for kinds whose objects can't be had.
const PATIENCE: Duration = Duration::from_secs(30);

/// Another controller that must watch everything.
pub(crate) trait Listener: Send + Sync + 'static {
    /// An object has changed, as far as its metadata shows it.
    fn changed(&self, change: &Change<Row>);
    /// From now on the changes of this kind's objects are told; earlier ones may have been missed.
    fn watched(&self, kind: &Kind);
}

/// The garbage collector; keys are uids.
pub(crate) struct Controller {
    writer: Writer,
    queue: Queue<String>,
    graph: Arc<Mutex<Graph>>,
    watched: Mutex<Watched>,
    listener: Arc<dyn Listener>,
}

/// What the API has, as of the last look.
#[derive(Default)]
struct Watched {
    /// Kinds by `apiVersion` and kind, to look owners up.
    kinds: HashMap<(String, String), Resource>,
    informers: HashMap<Kind, Watch>,
}

struct Watch {
    informer: Informer<Row>,
    /// Tells the listener when the first list is complete.
    _telling: JoinSet<()>,
}

impl Controller {
    pub(crate) async fn new(
        writer: Writer,
        queue: &Queue<String>,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, kube::Error> {
        let collector = Self {
            writer,
            queue: queue.clone(),
            graph: Arc::default(),
            watched: Mutex::default(),
            listener,
        };
        // Without this server's own resources nothing begins; others' may follow.
        if let Err(error) = collector.discover().await
            && collector.watched.lock().informers.is_empty()
        {
            return Err(error);
        }
        Ok(collector)
    }

    /// Waits for the whole view; for kinds of other servers, which may not answer, for a while only: owners that weren't
    /// seen are looked up.
    pub(crate) async fn synced(&self) {
        let informers: Vec<Informer<Row>> = {
            let watched = self.watched.lock();
            watched.informers.values().map(|watch| watch.informer.clone()).collect()
        };
        let all = async {
            for informer in informers {
                informer.synced().await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("collecting begins without some of the kinds");
        }
    }

    /// Looks at what the API has whenever the definitions of custom resources or the registrations of other servers
    /// change, and again for a while when one of those doesn't answer.
    pub(crate) async fn follow(&self) {
        let informer = |group: &str, kind: &str| {
            let watched = self.watched.lock();
            let mut all = watched.informers.iter();
            let is_it = |known: &Kind| known.kind == kind && known.api_version.starts_with(group);
            all.find_map(|(known, watch)| is_it(known).then(|| watch.informer.clone()))
        };
        let definitions = informer("apiextensions.k8s.io/", "CustomResourceDefinition");
        let services = informer("apiregistration.k8s.io/", "APIService");
        let (Some(definitions), Some(services)) = (definitions, services) else {
            return;
        };
        let (mut definitions, mut services) = (definitions.changes(), services.changes());
        let slowly = || Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        let (mut backoff, mut again) = (slowly(), None);
        loop {
            let more = tokio::select! {
                more = definitions.next() => more.is_some(),
                more = services.next() => more.is_some(),
                () = pause(again) => true,
            };
            if !more {
                return;
            }
            // Changes come many at once; one look sees them all.
            while definitions.next().now_or_never().flatten().is_some() {}
            while services.next().now_or_never().flatten().is_some() {}
            again = match self.discover().await {
                Ok(()) => {
                    backoff = slowly();
                    None
                }
                Err(error) => {
                    let delay = backoff.next_delay();
                    // Another server may be away for long; that is said once.
                    match again {
                        None => tracing::warn!(%error, ?delay, "cannot discover the resources to collect"),
                        Some(_) => tracing::debug!(%error, ?delay, "cannot discover the resources to collect"),
                    }
                    Some(delay)
                }
            };
        }
    }

    /// Watches what is new, and no longer what is gone. What can't be known now stays watched.
    async fn discover(&self) -> Result<(), kube::Error> {
        let Found { resources, mut silent } = discover::resources(&self.writer).await?;
        let verbs = ["list", "watch", "delete"];
        let is_watched =
            |resource: &&Resource| verbs.iter().all(|verb| resource.can(verb)) && resource.kind.plural != "events";
        let wanted: HashSet<Kind> = resources
            .iter()
            .filter(is_watched)
            .map(|one| one.kind.clone())
            .collect();
        let mut watched = self.watched.lock();
        let is_silent = |kind: &Kind| silent.iter().any(|(version, _)| *version == kind.api_version);
        watched
            .informers
            .retain(|kind, _| wanted.contains(kind) || is_silent(kind));
        for kind in wanted {
            if !watched.informers.contains_key(&kind) {
                let watch = self.watch(&kind);
                watched.informers.insert(kind, watch);
            }
        }
        let name = |resource: &Resource| (resource.kind.api_version.clone(), resource.kind.kind.clone());
        watched.kinds = resources
            .into_iter()
            .map(|resource| (name(&resource), resource))
            .collect();
        match silent.pop() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn watch(&self, kind: &Kind) -> Watch {
        let informer = watch(&self.writer, kind);
        let (graph, queue, listener) = (self.graph.clone(), self.queue.clone(), self.listener.clone());
        informer.subscribe(move |change| {
            listener.changed(change);
            let look = graph.lock().change(change.before.as_ref(), change.after.as_ref());
            look.into_iter().for_each(|uid| queue.add(uid));
        });
        let mut telling = JoinSet::new();
        let (first, listener, kind) = (informer.clone(), self.listener.clone(), kind.clone());
        telling.spawn(async move {
            first.synced().await;
            listener.watched(&kind);
        });
        Watch {
            informer,
            _telling: telling,
        }
    }

    /// Which of these owners are not there. One of a kind that the API does not know counts as there: nothing is
    /// deleted for what is not understood.
    async fn absent(&self, row: &Row, owners: &[OwnerReference]) -> Result<HashSet<String>, kube::Error> {
        let mut absent = HashSet::new();
        for owner in owners {
            let name = (owner.api_version.clone(), owner.kind.clone());
            let found = self.watched.lock().kinds.get(&name).cloned();
            let Some(resource) = found else { continue };
            let namespace = row.key.namespace.as_deref().filter(|_| resource.namespaced);
            if resource.namespaced && namespace.is_none() {
                absent.insert(owner.uid.clone());
                continue;
            }
            let path = format!("{}/{}", resource.kind.path(namespace), owner.name);
            match self.writer.get(&path).await {
                Ok(found) if found["metadata"]["uid"] == owner.uid.as_str() => {}
                Ok(_) => drop(absent.insert(owner.uid.clone())),
                Err(error) if client::is_not_found(&error) => drop(absent.insert(owner.uid.clone())),
                Err(error) => return Err(error),
            }
        }
        Ok(absent)
    }

    async fn remove_finalizer(&self, row: &Row, finalizer: &str) -> Result<(), kube::Error> {
        let rest: Vec<_> = row.finalizers.iter().filter(|known| *known != finalizer).collect();
        self.patch(row, json!({ "finalizers": rest })).await
    }

    async fn disown(&self, row: &Row, gone: &[String]) -> Result<(), kube::Error> {
        let rest: Vec<_> = row.owners.iter().filter(|owner| !gone.contains(&owner.uid)).collect();
        self.patch(row, json!({ "ownerReferences": rest })).await
    }

    /// No owner waits for it any more.
    async fn unblock(&self, row: &Row) -> Result<(), kube::Error> {
        let mut owners = row.owners.clone();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.patch(row, json!({ "ownerReferences": owners })).await
    }

    /// Patches metadata of exactly the version that was seen.
    async fn patch(&self, row: &Row, mut metadata: Value) -> Result<(), kube::Error> {
        metadata["uid"] = row.uid.as_str().into();
        metadata["resourceVersion"] = row.version.as_str().into();
        match self
            .writer
            .patch(&row.kind, &row.key, Patch::Merge, &json!({ "metadata": metadata }))
            .await
        {
            Err(error) if client::is_not_found(&error) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn act(&self, row: &Row, step: Step) -> Result<(), kube::Error> {
        match step {
            Step::Nothing | Step::Verify(_) => Ok(()),
            Step::DeleteDependents(dependents) => {
                for dependent in dependents {
                    let step = self.decide(&dependent).await?;
                    Box::pin(self.act(&dependent, step)).await?;
                }
                Ok(())
            }
            Step::Orphan(dependents) => {
                for dependent in dependents {
                    self.disown(&dependent, std::slice::from_ref(&row.uid)).await?;
                }
                self.remove_finalizer(row, graph::ORPHAN).await
            }
            Step::RemoveFinalizer(finalizer) => self.remove_finalizer(row, finalizer).await,
            Step::Disown(gone) => self.disown(row, &gone).await,
            Step::Delete { policy, unblock } => {
                if unblock {
                    self.unblock(row).await?;
                }
                let options = json!({ "propagationPolicy": policy });
                match self.writer.delete(&row.kind, &row.key, &row.uid, options).await {
                    // The name means another object by now, which is none of ours.
                    Err(error) if client::is_conflict(&error) => Ok(()),
                    other => other,
                }
            }
        }
    }

    async fn decide(&self, row: &Row) -> Result<Step, kube::Error> {
        let step = self.graph.lock().plan(row, &HashSet::new());
        let Step::Verify(owners) = step else { return Ok(step) };
        let absent = self.absent(row, &owners).await?;
        // Owners that are there after all, but not seen yet, bring no change: their events do.
        if absent.len() < owners.len() {
            return Ok(Step::Nothing);
        }
        Ok(self.graph.lock().plan(row, &absent))
    }
}

impl Reconciler for Controller {
    type Key = String;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    async fn reconcile(&self, uid: &String) -> Result<Next, kube::Error> {
        let Some(row) = self.graph.lock().row(uid) else {
            return Ok(Next::Change);
        };
        let step = self.decide(&row).await?;
        self.act(&row, step).await?;
        Ok(Next::Change)
    }
}

/// Waits for so long; without a time, for ever.
async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn watch(writer: &Writer, kind: &Kind) -> Informer<Row> {
    let (group, version) = kind.api_version.split_once('/').unwrap_or(("", &kind.api_version));
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: kind.api_version.clone(),
        kind: kind.kind.clone(),
        plural: kind.plural.clone(),
    };
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(writer.client.clone(), &resource);
    let kind = Arc::new(kind.clone());
    Informer::of(api).start(move |object| {
        let meta = &object.metadata;
        Row {
            kind: kind.clone(),
            key: ObjectKey {
                namespace: meta.namespace.clone(),
                name: meta.name.clone().unwrap_or_default(),
            },
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    })
}
