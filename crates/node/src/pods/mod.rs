//! The pods of this node: one worker each, fed by one watch and by the engine's events.

mod admission;
pub(crate) mod ephemeral;
pub(crate) mod events;
pub(crate) mod handler;
mod hooks;
pub(crate) mod observed;
mod plan;
mod publish;
mod pulls;
mod recall;
mod refusal;
mod resize;
mod resizing;
pub(crate) mod start;
mod status;
mod stop;
mod worker;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use client::Recorder;
use engine::{Engine, Event, State};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use scheduler::Room;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::address::HostIp;
use crate::names::Names;
use crate::objects::Objects;
use crate::services::Services;
use crate::slots::Slots;
use crate::stats::Samples;
use crate::volumes::Paths;
use observed::{Observed, Run, RunState, World};

use start::label;
pub(crate) use status::Facts;
use worker::Worker;
pub(crate) use worker::{Wake, find};

/// What all workers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) node_name: String,
    /// This node as the API has it.
    pub(crate) node: tokio::sync::watch::Receiver<Arc<Node>>,
    pub(crate) host_ip: HostIp,
    pub(crate) engine: Arc<Engine>,
    pub(crate) images: image::Store,
    pub(crate) transfer: image::Transfer,
    /// This node's images, for the others of the cluster.
    pub(crate) registry: registry::Registry,
    /// The node's own credentials for registries.
    pub(crate) docker_config: PathBuf,
    pub(crate) slots: Slots,
    pub(crate) objects: Objects,
    pub(crate) services: Arc<Services>,
    pub(crate) names: Names,
    pub(crate) events: Recorder,
    pub(crate) paths: Paths,
    pub(crate) seccomp_profiles: PathBuf,
    pub(crate) pods: Directory,
    pub(crate) samples: Samples,
}

/// The pods by namespace and name, for those who are asked for one: logs, exec, status.
#[derive(Default)]
pub(crate) struct Directory {
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    listed: tokio::sync::watch::Sender<bool>,
}

impl Directory {
    /// Returns when it has every pod that the server knew at this node's start: who is missing then isn't here.
    pub(crate) async fn listed(&self) {
        // It fails only without a sender, which this is.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let fits = |pod: &&Arc<Pod>| {
            pod.metadata.name.as_deref() == Some(name) && pod.metadata.namespace.as_deref() == Some(namespace)
        };
        // A successor may have its predecessor's name; the newest counts.
        self.lock()
            .values()
            .filter(fits)
            .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0))
            .cloned()
    }

    /// The pod with this uid.
    pub(crate) fn of_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.lock().get(uid).cloned()
    }

    /// All pods, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        let mut pods: Vec<Arc<Pod>> = self.lock().values().cloned().collect();
        pods.sort_by(|a, b| {
            let key = |pod: &Pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        pods
    }

    /// The images that the pods name.
    pub(crate) fn images(&self) -> Vec<String> {
        let pods = self.lock();
        let specs = pods.values().filter_map(|pod| pod.spec.as_ref());
        let containers = specs.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        containers.filter_map(|container| container.image.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Manager {
    ctx: Arc<Context>,
    workers: HashMap<String, mpsc::UnboundedSender<Wake>>,
    running: JoinSet<String>,
    /// What the engine had when the node started, by pod.
    found: HashMap<String, World>,
    /// What the pods take that were not turned away.
    room: Room,
    /// Pods that were turned away.
    refused: HashSet<String>,
}

/// Brings every pod of this node to what it should be, until cancelled. The pods themselves go on then.
pub(crate) async fn run(ctx: Arc<Context>, mut images: tokio::sync::watch::Receiver<u64>) {
    let api: Api<Pod> = Api::all(ctx.client.clone());
    let config = watcher::Config {
        initial_list_strategy: watcher::InitialListStrategy::StreamingList,
        ..watcher::Config::default().fields(&format!("spec.nodeName={}", ctx.node_name))
    };
    let mut exits = ctx.engine.events();
    let mut watch = watcher(api, config).default_backoff().boxed();
    let found = worlds(&ctx.engine);
    let mut manager = Manager {
        ctx,
        workers: HashMap::new(),
        running: JoinSet::new(),
        found,
        room: Room::default(),
        refused: HashSet::new(),
    };
    let mut listed: Option<Vec<Pod>> = None;
    loop {
        tokio::select! {
            event = watch.next() => match event {
                Some(Ok(watcher::Event::Init)) => listed = Some(Vec::new()),
                Some(Ok(watcher::Event::InitApply(pod))) => listed.get_or_insert_default().push(pod),
                Some(Ok(watcher::Event::InitDone)) => manager.listed(listed.take().unwrap_or_default()).await,
                Some(Ok(watcher::Event::Apply(pod))) => manager.apply(pod).await,
                Some(Ok(watcher::Event::Delete(pod))) => manager.gone(&pod.metadata.uid.unwrap_or_default()),
                Some(Err(error)) => tracing::warn!(%error, "watching pods"),
                None => return,
            },
            event = exits.recv() => manager.engine_event(event.unwrap_or(Event::Missed)),
            Some(ended) = manager.running.join_next() => match ended {
                Ok(uid) => manager.ended(&uid),
                Err(error) => tracing::error!(%error, "a pod's worker failed"),
            },
            Ok(()) = images.changed() => manager.tell_all(|| Wake::Image),
        }
    }
}

impl Manager {
    /// Takes up a whole list. Pods that this node took before come first, then the older ones: they keep what they have.
    async fn listed(&mut self, mut pods: Vec<Pod>) {
        pods.sort_by_key(|pod| {
            (
                !is_known(pod),
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            )
        });
        let uids = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        for pod in pods {
            self.apply(pod).await;
        }
        self.reconcile(&uids).await;
    }

    async fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let pod = Arc::new(pod);
        let new = self.ctx.pods.lock().insert(uid.clone(), pod.clone()).is_none();
        let refusal = match new && !is_known(&pod) {
            true => admission::admit(&self.ctx, &mut self.room, &pod).await,
            false => None,
        };
        if refusal.is_some() {
            self.refused.insert(uid.clone());
        }
        if !self.refused.contains(&uid) {
            self.room.put(&pod);
        }
        if let Some(worker) = self.workers.get(&uid)
            && worker.send(Wake::Pod(pod.clone())).is_ok()
        {
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut world = self.found.remove(&uid).unwrap_or_default();
        let slot = self.ctx.slots.of(&uid);
        if slot.is_none() {
            recall::recall(&mut world, &pod, Timestamp::now());
        }
        let mut worker = Worker::new(self.ctx.clone(), pod, world, slot, (sender.clone(), receiver));
        if let Some(refusal) = refusal {
            worker.refuse(refusal);
        }
        self.workers.insert(uid.clone(), sender);
        self.running.spawn(async move {
            worker.run().await;
            uid
        });
    }

    fn gone(&mut self, uid: &str) {
        if let Some(worker) = self.workers.get(uid) {
            let _ = worker.send(Wake::Gone);
        }
    }

    fn ended(&mut self, uid: &str) {
        self.workers.remove(uid);
        self.room.remove(uid);
        self.refused.remove(uid);
        self.ctx.pods.lock().remove(uid);
    }

    /// After a list: workers of pods that are not in it end; what the engine has of pods that nobody knows is removed.
    async fn reconcile(&mut self, listed: &HashSet<String>) {
        let missing: Vec<String> = self
            .workers
            .keys()
            .filter(|uid| !listed.contains(*uid))
            .cloned()
            .collect();
        for uid in missing {
            self.gone(&uid);
        }
        self.found.clear();
        self.ctx.pods.listed.send_replace(true);
        let mut orphans: HashSet<String> = self.ctx.slots.owners().into_iter().collect();
        orphans.extend(worlds(&self.ctx.engine).into_keys());
        orphans.extend(crate::volumes::owners(&self.ctx.paths));
        orphans.retain(|uid| !self.workers.contains_key(uid));
        for uid in orphans {
            tracing::info!(pod = uid, "removing what is left of a pod that is gone");
            let slot = self.ctx.slots.of(&uid);
            if let Err(error) = stop::remove(&self.ctx, &uid, slot.as_ref().map(|slot| slot.id.clone())).await {
                tracing::warn!(pod = uid, error, "removing what is left of a pod");
            }
            if let Some(slot) = slot {
                self.ctx.slots.release(slot).await;
            }
        }
    }

    fn engine_event(&mut self, event: Event) {
        match event {
            Event::Exited(id, exit) => {
                let of_pod = self
                    .ctx
                    .engine
                    .containers()
                    .into_iter()
                    .find(|container| container.id == id);
                let uid = of_pod.as_ref().and_then(|container| note(container, label::POD_UID));
                if let Some(worker) = uid.and_then(|uid| self.workers.get(uid)) {
                    let _ = worker.send(Wake::Exited(id, exit));
                }
            }
            Event::Missed => self.tell_all(|| Wake::Resync),
        }
    }

    fn tell_all(&self, wake: impl Fn() -> Wake) {
        for worker in self.workers.values() {
            let _ = worker.send(wake());
        }
    }
}

/// Whether this node has dealt with the pod before: it says in the status when it did so first. Who is on the way out
/// isn't judged any more either.
fn is_known(pod: &Pod) -> bool {
    let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
    started || pod.metadata.deletion_timestamp.is_some()
}

/// What the engine has of each pod.
fn worlds(engine: &Engine) -> HashMap<String, World> {
    let mut worlds: HashMap<String, World> = HashMap::new();
    for container in engine.containers() {
        let Some(uid) = note(&container, label::POD_UID) else {
            continue;
        };
        let name = note(&container, label::CONTAINER).unwrap_or_default().to_string();
        let observed = worlds.entry(uid.to_string()).or_default().entry(name).or_default();
        if let Some(run) = run_of(&container) {
            add(observed, run);
        }
    }
    worlds
}

/// The newest run is the current one, the one before it the previous one.
fn add(observed: &mut Observed, run: Run) {
    let newer = observed
        .current
        .as_ref()
        .is_none_or(|current| run.attempt > current.attempt);
    let (newest, other) = if newer {
        (run, observed.current.take())
    } else {
        (observed.current.take().unwrap_or(run.clone()), Some(run))
    };
    // How often it crashed is not on record; a container that was restarted is taken for one that crashes.
    observed.crashes = newest.attempt + u32::from(matches!(newest.state, RunState::Exited(..)));
    observed.current = Some(newest);
    if let Some(other) = other
        && observed
            .previous
            .as_ref()
            .is_none_or(|previous| other.attempt > previous.attempt)
    {
        observed.previous = Some(other);
    }
}

fn run_of(container: &engine::Container) -> Option<Run> {
    let state = match &container.state {
        // Never started: the step will be repeated, with the same id.
        State::Created => return None,
        State::Running(started) => RunState::Running(*started),
        State::Exited(exit) => RunState::Exited(*exit, None),
    };
    Some(Run {
        id: container.id.clone(),
        attempt: note(container, label::ATTEMPT)?.parse().ok()?,
        state,
        image: note(container, label::IMAGE)?.to_string(),
        image_id: note(container, label::IMAGE_ID)?.to_string(),
    })
}

fn note<'a>(container: &'a engine::Container, key: &str) -> Option<&'a str> {
    container
        .labels
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}
