//! List and watch of one resource through a projection into a shared, indexed set of small values.
//!
//! The whole object lives only while it is projected. Handlers run in the informer's task right after the set has
//! changed, so a change reaches a work queue without another hop; they must not block and not subscribe.

use std::fmt::Debug;
use std::sync::Arc;

use compact_str::CompactString;
use futures::StreamExt;
use hashbrown::HashSet;
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use kube::{Api, Resource, ResourceExt};
use meta::ObjectKey;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use crate::Backoff;
use crate::objects::{IndexFn, Objects};

/// What happened to one object: `before` is absent when it is new, `after` when it is gone.
#[derive(Debug)]
pub struct Change<P> {
    /// The object's key.
    pub key: ObjectKey,
    /// What was known until now.
    pub before: Option<Arc<P>>,
    /// What is known now.
    pub after: Option<Arc<P>>,
}

impl<P> Clone for Change<P> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
        }
    }
}

type Handler<P> = Box<dyn FnMut(&Change<P>) + Send>;

/// A shared view of one resource. Clones share it; the watch ends with the last clone.
pub struct Informer<P>(Arc<Running<P>>);

struct Running<P> {
    shared: Arc<Shared<P>>,
    task: tokio::task::AbortHandle,
}

struct Shared<P> {
    objects: RwLock<Objects<P>>,
    /// Also orders changes: whoever holds it may change `objects` and tell the handlers.
    handlers: Mutex<Vec<Handler<P>>>,
    synced: watch::Sender<bool>,
}

/// Collects what an informer needs before it starts.
pub struct Builder<K, P> {
    api: Api<K>,
    config: watcher::Config,
    indexes: Vec<IndexFn<P>>,
}

/// The stream of changes from [`Informer::changes`].
pub struct Changes<P>(mpsc::UnboundedReceiver<Change<P>>);

// === impl Builder ===

impl<K, P> Builder<K, P>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    P: Send + Sync + 'static,
{
    /// Only objects with these labels.
    pub fn labels(mut self, selector: &str) -> Self {
        self.config = self.config.labels(selector);
        self
    }

    /// Only objects with these fields.
    pub fn fields(mut self, selector: &str) -> Self {
        self.config = self.config.fields(selector);
        self
    }

    /// Adds an index; its number is the count of those added before.
    pub fn index(mut self, values: impl Fn(&P, &mut Vec<CompactString>) + Send + Sync + 'static) -> Self {
        self.indexes.push(Box::new(values));
        self
    }

    /// Starts the watch in a task of its own; `project` makes the value that is kept.
    pub fn start(self, project: impl Fn(&K) -> P + Send + 'static) -> Informer<P> {
        self.start_some(move |object| Some(project(object)))
    }

    /// Like [`Builder::start`], for projections that leave objects out: an object without a value is as if absent.
    pub fn start_some(self, project: impl Fn(&K) -> Option<P> + Send + 'static) -> Informer<P> {
        let shared = Arc::new(Shared {
            objects: RwLock::new(Objects::new(self.indexes)),
            handlers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
        });
        let task = tokio::spawn(follow(self.api, self.config, project, shared.clone())).abort_handle();
        Informer(Arc::new(Running { shared, task }))
    }
}

// === impl Informer ===

impl<P: Send + Sync + 'static> Informer<P> {
    /// Prepares a watch of what `api` names.
    pub fn of<K>(api: Api<K>) -> Builder<K, P> {
        let config = watcher::Config {
            initial_list_strategy: InitialListStrategy::StreamingList,
            ..watcher::Config::default()
        };
        Builder {
            api,
            config,
            indexes: Vec::new(),
        }
    }

    /// The object, if known.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<P>> {
        self.0.shared.objects.read().get(key)
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<P>> {
        self.0
            .shared
            .objects
            .read()
            .iter()
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// All keys, in no order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.0
            .shared
            .objects
            .read()
            .iter()
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The objects that the `index`-th index has under `value`.
    pub fn by(&self, index: usize, value: &str) -> Vec<Arc<P>> {
        self.0.shared.objects.read().by(index, value)
    }

    /// How many objects are known.
    pub fn len(&self) -> usize {
        self.0.shared.objects.read().len()
    }

    /// Whether no object is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.0.shared.synced.borrow()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // The sender lives as long as self, so waiting cannot fail.
        let _ = self.0.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Calls `handler` for every object known now (as new), and from then on for every change, in order.
    pub fn subscribe(&self, mut handler: impl FnMut(&Change<P>) + Send + 'static) {
        let mut handlers = self.0.shared.handlers.lock();
        let known: Vec<_> = {
            let objects = self.0.shared.objects.read();
            objects
                .iter()
                .map(|(key, object)| (key.clone(), object.clone()))
                .collect()
        };
        for (key, object) in known {
            handler(&Change {
                key,
                before: None,
                after: Some(object),
            });
        }
        handlers.push(Box::new(handler));
    }

    /// The same as a stream.
    pub fn changes(&self) -> Changes<P> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribe(move |change| {
            // A dropped receiver only means that nobody listens any more.
            let _ = sender.send(change.clone());
        });
        Changes(receiver)
    }
}

impl<P> Clone for Informer<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P> Drop for Running<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Changes ===

impl<P> Changes<P> {
    /// The next change; `None` after the informer has ended.
    pub async fn next(&mut self) -> Option<Change<P>> {
        self.0.recv().await
    }
}

// === impl Shared ===

impl<P> Shared<P> {
    fn put(&self, key: ObjectKey, object: Option<P>) {
        let mut handlers = self.handlers.lock();
        let after = object.map(Arc::new);
        let before = match &after {
            Some(object) => self.objects.write().insert(&key, object.clone()),
            None => self.objects.write().remove(&key),
        };
        if before.is_none() && after.is_none() {
            return;
        }
        let change = Change { key, before, after };
        for handler in handlers.iter_mut() {
            handler(&change);
        }
    }

    fn retain(&self, listed: &HashSet<ObjectKey>) {
        let lost: Vec<_> = self
            .objects
            .read()
            .iter()
            .map(|(key, _)| key)
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        for key in lost {
            self.put(key, None);
        }
    }
}

/// Follows the resource for ever. Errors are retried by the one policy; a server without streaming lists gets plain ones.
async fn follow<K, P>(
    api: Api<K>,
    mut config: watcher::Config,
    project: impl Fn(&K) -> Option<P>,
    shared: Arc<Shared<P>>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut backoff = Backoff::connection();
    let mut listed = HashSet::new();
    'list: loop {
        let mut stream = std::pin::pin!(watcher::watcher(api.clone(), config.clone()));
        while let Some(event) = stream.next().await {
            if event.is_ok() {
                backoff.reset();
            }
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let key = key_of(&object);
                    shared.put(key.clone(), project(&object));
                    listed.insert(key);
                }
                Ok(Event::InitDone) => {
                    shared.retain(&std::mem::take(&mut listed));
                    shared.synced.send_replace(true);
                }
                Ok(Event::Apply(object)) => shared.put(key_of(&object), project(&object)),
                Ok(Event::Delete(object)) => shared.put(key_of(&object), None),
                Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)))
                    if matches!(status.code, 400 | 422)
                        && config.initial_list_strategy == InitialListStrategy::StreamingList =>
                {
                    config.initial_list_strategy = InitialListStrategy::ListWatch;
                    continue 'list;
                }
                Err(error) => {
                    let delay = backoff.next_delay();
                    tracing::debug!(%error, ?delay, url = api.resource_url(), "watch interrupted");
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }
}

fn key_of<K: Resource>(object: &K) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace(),
        name: object.name_any(),
    }
}
