//! A pod's worker: one task that brings one pod to what its specification says, and away when it is deleted.
//!
//! It is the only one that touches the pod's containers. What it needs to know after a restart is with the engine and
//! in the API; its memory is a cache of both.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{ContainerId, Exit};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio::sync::{mpsc, watch};

use super::Context;
use super::ephemeral::{self, find_in};
use super::events;
use super::handler;
use super::observed::{Observed, Run, RunState, Waiting, World, delay};
use super::plan::{Step, phase, plan};
use super::publish::Publisher;
use super::pulls::Pull;
use super::resize;
use super::start::{self, BACK_OFF, PULL_FAILED, StartError};
use super::status::{Facts, compute};
use super::stop;
use crate::objects::Followed;
use crate::probes::{Probes, Verdict};
use crate::slots::Slot;
use crate::volumes::{Around, Volumes};

/// How long a failed pull is shown as such, before it is shown as backed off.
const SHOWN: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// What wakes a worker up.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The pod's newest state in the API.
    Pod(Arc<Pod>),
    /// The pod is not in the API any more.
    Gone,
    /// A container ended.
    Exited(ContainerId, Exit),
    /// A probe changed its mind.
    Probe(Verdict),
    /// An object that a volume shows has changed.
    Volumes,
    /// An image came; one that was missing may be there.
    Image,
    /// The pull for a container has ended.
    Pulled(String, Result<(), StartError>),
    /// Events were lost: ask the engine for everything.
    Resync,
}

pub(crate) struct Worker {
    pub(super) ctx: Arc<Context>,
    pub(super) pod: Arc<Pod>,
    pub(super) world: World,
    pub(super) facts: Facts,
    pub(super) slot: Option<Slot>,
    pub(super) gone: bool,
    pub(super) wakes: mpsc::UnboundedReceiver<Wake>,
    pub(super) publisher: Publisher,
    volumes: Option<Volumes>,
    /// When the volumes should be brought up to date; `None` while they are and nothing in them expires.
    volumes_due: Option<Timestamp>,
    probes: Probes,
    followed: Vec<Arc<Followed>>,
    /// Tasks that wait for changes of followed objects; they end with the worker.
    followers: tokio::task::JoinSet<()>,
    pub(super) sender: mpsc::UnboundedSender<Wake>,
    /// Pulls by container; those that run end with the worker.
    pub(super) pulls: HashMap<String, Pull>,
    /// Why this node doesn't take the pod, and when that is said.
    pub(super) refused: Option<(scheduler::Refusal, Timestamp)>,
    /// Why the pod as a whole can't get on, and when to try again.
    trouble: HashMap<&'static str, (u32, Timestamp)>,
}

impl Worker {
    /// Takes up a pod: `world` and `slot` are what the engine still has of it.
    pub(crate) fn new(
        ctx: Arc<Context>,
        pod: Arc<Pod>,
        world: World,
        slot: Option<Slot>,
        (sender, wakes): (mpsc::UnboundedSender<Wake>, mpsc::UnboundedReceiver<Wake>),
    ) -> Self {
        let publisher = Publisher::start(ctx.client.clone(), &pod);
        let facts = Facts {
            host_ip: ctx.host_ip.get().to_string(),
            ..Facts::default()
        };
        let probes = Probes::new(ctx.clone(), sender.clone());
        let mut worker = Self {
            ctx,
            pod,
            world,
            facts,
            slot,
            gone: false,
            wakes,
            publisher,
            volumes: None,
            volumes_due: None,
            probes,
            followed: Vec::new(),
            followers: tokio::task::JoinSet::new(),
            sender,
            pulls: HashMap::new(),
            refused: None,
            trouble: HashMap::new(),
        };
        worker.facts.applied = worker.known_resources();
        worker.recall_failure();
        worker
    }

    /// Works until the pod is gone from this node and from the API.
    pub(crate) async fn run(mut self) {
        loop {
            if self.is_deleted() {
                break;
            }
            let next = self.sync().await;
            let wake = match next {
                Some(at) => {
                    let pause = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                    tokio::time::timeout(pause, self.wakes.recv()).await
                }
                None => Ok(self.wakes.recv().await),
            };
            match wake {
                Ok(Some(wake)) => self.note(wake),
                Ok(None) => return,
                Err(_) => {}
            }
            // What came meanwhile is looked at in one go.
            while let Ok(wake) = self.wakes.try_recv() {
                self.note(wake);
            }
        }
        self.probes.stop_all();
        self.followed.clear();
        self.followers.abort_all();
        stop::terminate(self).await;
    }

    fn is_deleted(&self) -> bool {
        self.gone || self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Takes a message into memory; what follows from it is the next sync's business.
    pub(super) fn note(&mut self, wake: Wake) {
        match wake {
            Wake::Pod(pod) => self.pod = pod,
            Wake::Gone => self.gone = true,
            Wake::Exited(id, exit) => self.ended(&id, exit),
            Wake::Probe(verdict) => self.judged(verdict),
            Wake::Volumes => self.volumes_due = Some(Timestamp::UNIX_EPOCH),
            Wake::Image => self.retry_images(),
            Wake::Pulled(name, result) => {
                self.pulls.insert(name, Pull::Ended(result));
            }
            Wake::Resync => self.look(),
        }
    }

    fn ended(&mut self, id: &ContainerId, exit: Exit) {
        for (name, observed) in &mut self.world {
            if observed.current.as_ref().is_some_and(|run| run.id == *id) && observed.running().is_some() {
                let container = find(&self.pod, name);
                let message =
                    container.and_then(|c| start::termination_message(&self.ctx, &self.pod, &c, observed, &exit));
                observed.ended(exit, message);
                self.probes.stop(name);
                return;
            }
        }
    }

    fn judged(&mut self, verdict: Verdict) {
        let (name, apply): (_, fn(&mut Observed)) = match verdict {
            Verdict::Started { container } => (container, |observed| observed.started = true),
            Verdict::Ready { container, ready: true } => (container, |observed| observed.ready = true),
            Verdict::Ready {
                container,
                ready: false,
            } => (container, |observed| observed.ready = false),
            Verdict::Failed { container, message } => {
                self.kill_unhealthy(&container, message);
                return;
            }
        };
        if let Some(observed) = self
            .world
            .get_mut(&name)
            .filter(|observed| observed.running().is_some())
        {
            apply(observed);
        }
    }

    /// A container whose liveness or startup probe failed is ended; its policy says whether it comes back.
    fn kill_unhealthy(&mut self, name: &str, message: String) {
        let Some(run) = self.world.get(name).and_then(|observed| observed.current.clone()) else {
            return;
        };
        let Some(container) = find(&self.pod, name) else { return };
        self.ctx
            .events
            .normal(&events::about_container(&self.pod, name), "Killing", message);
        let grace = container
            .liveness_probe
            .as_ref()
            .and_then(|probe| probe.termination_grace_period_seconds)
            .or(self
                .pod
                .spec
                .as_ref()
                .and_then(|spec| spec.termination_grace_period_seconds))
            .unwrap_or(30);
        self.probes.stop(name);
        let ctx = self.ctx.clone();
        let (pod, container) = (self.pod.clone(), container.into_owned());
        let address = self.facts.pod_ips.first().cloned();
        tokio::spawn(async move {
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            stop::container(&ctx, &pod, &container, &run, address.as_deref(), grace).await;
        });
    }

    /// Compares memory with the engine.
    pub(super) fn look(&mut self) {
        let running: Vec<(String, ContainerId)> = self
            .world
            .iter()
            .filter(|(_, observed)| observed.running().is_some())
            .filter_map(|(name, observed)| Some((name.clone(), observed.current.as_ref()?.id.clone())))
            .collect();
        for (_, id) in running {
            if let Ok(engine::State::Exited(exit)) = self.ctx.engine.state(&id) {
                self.ended(&id, exit);
            }
        }
    }

    /// One look at the pod, and the steps that follow from it. Returns when to look again without being woken.
    async fn sync(&mut self) -> Option<Timestamp> {
        let pod = self.pod.clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let now = Timestamp::now();
        if let Some(at) = self.turn_away(now) {
            return Some(at);
        }
        if self.facts.failure.is_none() && self.past_deadline(&spec, now) {
            let text = "Pod was active on the node longer than the specified deadline";
            self.facts.failure = Some(("DeadlineExceeded".to_string(), text.to_string()));
        }
        let failed = self.facts.failure.is_some();
        let over = failed || phase(&spec, &self.world).is_final();
        if over {
            self.stop_what_is_left(&spec, failed).await;
            self.publish();
            return None;
        }
        let mut next = match self.prepare(&spec).await {
            Ok(next) => next,
            Err(at) => {
                self.publish();
                return Some(at);
            }
        };
        self.watch_probes(&spec);
        let again = self.resize(&spec).await;
        next = [next, again].into_iter().flatten().min();
        let steps = plan(&spec, &self.world, Timestamp::now());
        let mut starts = Vec::new();
        for step in steps {
            match step {
                Step::Start(name) => starts.push(name),
                Step::Stop(_) => {}
                Step::Wait(name, at) => {
                    let at = self.wait_for(&name, at);
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        // Users see that containers are being made, while they are.
        self.publish();
        let (starts, some_failed) = self.with_images(&spec, starts).await;
        if starts.is_empty() && some_failed {
            // They wait now, and the plan says how long.
            self.publish();
            return Some(Timestamp::now());
        }
        if !starts.is_empty() {
            self.start(&spec, starts).await;
            self.watch_probes(&spec);
            self.publish();
            return Some(Timestamp::now());
        }
        let deadline = self.deadline(&spec);
        [next, deadline].into_iter().flatten().min()
    }

    fn deadline(&self, spec: &PodSpec) -> Option<Timestamp> {
        let started = self.pod.status.as_ref()?.start_time.as_ref()?.0;
        Some(started + jiff::SignedDuration::from_secs(spec.active_deadline_seconds?))
    }

    fn past_deadline(&self, spec: &PodSpec, now: Timestamp) -> bool {
        self.deadline(spec).is_some_and(|deadline| deadline <= now)
    }

    /// The sandbox and the volumes. `Err` is when to try again; `Ok` when the volumes want to be looked after.
    async fn prepare(&mut self, spec: &PodSpec) -> Result<Option<Timestamp>, Timestamp> {
        if let Err(error) = self.sandbox(spec).await {
            let message = format!("Failed to create pod sandbox: {error}");
            return Err(self.in_trouble("FailedCreatePodSandBox", message));
        }
        let due = self.volumes_due.is_some_and(|at| at <= Timestamp::now());
        if self.volumes.is_none() || due {
            self.follow();
            let around = Around {
                host_ip: &self.facts.host_ip,
                pod_ips: &self.facts.pod_ips,
            };
            match Volumes::set_up(&self.ctx.paths, &self.ctx.objects, &self.pod, around).await {
                Ok(volumes) => {
                    self.volumes_due = volumes.refresh_at;
                    self.volumes = Some(volumes);
                }
                Err(error) => {
                    let again = self.in_trouble("FailedMount", format!("MountVolume.SetUp failed: {error}"));
                    if self.volumes.is_none() {
                        return Err(again);
                    }
                    // What is there stays as it is, and the pod goes on with it.
                    self.volumes_due = Some(again);
                    return Ok(Some(again));
                }
            }
        }
        self.trouble.clear();
        Ok(self.volumes_due)
    }

    async fn sandbox(&mut self, spec: &PodSpec) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.slot.is_none() {
            handler::check(&self.ctx.client, spec).await?;
            self.slot = Some(self.ctx.slots.claim(&self.pod, spec).await?);
        }
        let address = self.slot.as_ref().and_then(|slot| slot.address);
        let address = address.or(spec.host_network.filter(|host| *host).map(|_| self.ctx.host_ip.get()));
        self.facts.pod_ips = address.map(|address| address.to_string()).into_iter().collect();
        self.facts.sandbox = true;
        Ok(())
    }

    fn in_trouble(&mut self, reason: &'static str, message: String) -> Timestamp {
        // Of a pod that is about to go nobody wants to know what it lacks.
        if self.pod.metadata.deletion_timestamp.is_none() {
            self.ctx.events.warning(&events::about(&self.pod), reason, message);
        }
        let (failures, at) = self.trouble.entry(reason).or_insert((0, Timestamp::UNIX_EPOCH));
        // Quickly at first: what is missing is often on its way.
        let pause = Duration::from_millis(500) * 2u32.pow((*failures).min(7));
        *failures += 1;
        *at = Timestamp::now() + pause.min(Duration::from_secs(60));
        *at
    }

    /// Follows what the volumes show.
    fn follow(&mut self) {
        if !self.followed.is_empty() {
            return;
        }
        for key in crate::volumes::followed(&self.pod) {
            let followed = self.ctx.objects.follow(&key);
            let mut changes: watch::Receiver<u64> = followed.changes();
            let sender = self.sender.clone();
            self.followers.spawn(async move {
                while changes.changed().await.is_ok() {
                    if sender.send(Wake::Volumes).is_err() {
                        return;
                    }
                }
            });
            self.followed.push(followed);
        }
    }

    async fn start(&mut self, spec: &PodSpec, names: Vec<String>) {
        let Some(volumes) = &self.volumes else { return };
        let Some(slot) = &self.slot else { return };
        let containers: Vec<_> = names.iter().filter_map(|name| find_in(spec, name)).collect();
        let results = join_all(containers.iter().map(async |container| {
            let attempt = self.world.get(&container.name).map_or(0, Observed::next_attempt);
            let joined_pid = ephemeral::joined_pid(spec, &container.name, &self.world)?;
            start::container(
                &self.ctx,
                &self.pod,
                spec,
                container,
                attempt,
                slot,
                volumes,
                &self.facts,
                joined_pid,
            )
            .await
        }))
        .await;
        for (container, result) in containers.into_iter().zip(results) {
            let observed = self.world.entry(container.name.clone()).or_default();
            match result {
                Ok(run) => {
                    begun(observed, run, &container);
                    let resources = resize::wanted(&container);
                    self.facts.applied.insert(container.name.clone(), resources);
                }
                Err(error) => failed(&self.ctx, &self.pod, observed, &container, error),
            }
        }
        self.drop_old_runs().await;
    }

    /// Only the run before the current one is kept, for `logs --previous`.
    async fn drop_old_runs(&mut self) {
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        let keep: Vec<ContainerId> = self
            .world
            .values()
            .flat_map(|observed| [observed.current.as_ref(), observed.previous.as_ref()])
            .flatten()
            .map(|run| run.id.clone())
            .collect();
        for id in start::containers_of(&self.ctx.engine, &uid) {
            if !keep.contains(&id) {
                start::forget(&self.ctx, &uid, &id).await;
            }
        }
    }

    /// Notes why a container waits, and returns when to look again.
    fn wait_for(&mut self, name: &str, until: Timestamp) -> Timestamp {
        let Some(observed) = self.world.get_mut(name) else {
            return until;
        };
        if let Some(waiting) = observed
            .waiting
            .as_mut()
            .filter(|waiting| waiting.reason == PULL_FAILED)
        {
            let turn = until - delay(waiting.failures) + SHOWN;
            if Timestamp::now() < turn {
                return turn.min(until);
            }
            let image = find(&self.pod, name)
                .and_then(|container| container.image.clone())
                .unwrap_or_default();
            let text = format!("Back-off pulling image {image:?}");
            let about = events::about_container(&self.pod, name);
            self.ctx.events.normal(&about, "BackOff", text.clone());
            self.ctx.events.warning(&about, "Failed", format!("Error: {BACK_OFF}"));
            waiting.message = format!("{text}: {PULL_FAILED}: {}", waiting.message);
            waiting.reason = BACK_OFF.to_string();
        }
        if observed.waiting.is_none() && observed.exit().is_some() {
            let pod = &self.pod.metadata;
            let message = format!(
                "back-off {} restarting failed container={name} pod={}_{}({})",
                meta::duration::format(delay(observed.crashes.saturating_sub(2)).unsigned_abs()),
                pod.name.as_deref().unwrap_or_default(),
                pod.namespace.as_deref().unwrap_or_default(),
                pod.uid.as_deref().unwrap_or_default(),
            );
            self.ctx
                .events
                .warning(&events::about_container(&self.pod, name), "BackOff", message.clone());
            observed.waiting = Some(Waiting {
                reason: "CrashLoopBackOff".to_string(),
                message,
                until,
                failures: 0,
            });
        }
        until
    }

    fn watch_probes(&mut self, spec: &PodSpec) {
        let address = self.facts.pod_ips.first().cloned().unwrap_or_default();
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            let Some(observed) = self.world.get(&container.name) else {
                continue;
            };
            if let (Some(started), Some(run)) = (observed.running(), &observed.current) {
                self.probes.watch(&self.pod, container, run, *started, &address);
            }
        }
    }

    async fn stop_what_is_left(&mut self, spec: &PodSpec, everything: bool) {
        let wanted: Vec<String> = if everything {
            self.world.keys().cloned().collect()
        } else {
            let steps = plan(spec, &self.world, Timestamp::now());
            steps
                .into_iter()
                .filter_map(|step| if let Step::Stop(name) = step { Some(name) } else { None })
                .collect()
        };
        let grace =
            Duration::from_secs(u64::try_from(spec.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(30));
        let address = self.facts.pod_ips.first().cloned();
        let running = wanted.iter().filter_map(|name| {
            let run = self
                .world
                .get(name)
                .filter(|observed| observed.running().is_some())?
                .current
                .as_ref()?;
            Some((find_in(spec, name)?, run))
        });
        let address = address.as_deref();
        join_all(running.map(async |(container, run)| {
            stop::container(&self.ctx, &self.pod, &container, run, address, grace).await;
        }))
        .await;
        self.look();
    }

    /// Tells the API how the pod is, when that has changed.
    pub(super) fn publish(&mut self) {
        let status = compute(&self.pod, &self.world, &self.facts, Timestamp::now());
        self.publisher.publish(status);
    }
}

fn begun(observed: &mut Observed, run: Run, container: &Container) {
    observed.previous = observed.current.take();
    let running = matches!(run.state, RunState::Running(_));
    observed.current = Some(run);
    observed.waiting = None;
    observed.lost = false;
    observed.started = running && container.startup_probe.is_none();
    observed.ready = running && container.readiness_probe.is_none() && container.startup_probe.is_none();
}

pub(super) fn failed(ctx: &Context, pod: &Pod, observed: &mut Observed, container: &Container, error: StartError) {
    let before = observed
        .waiting
        .as_ref()
        .filter(|_| observed.waiting.as_ref().is_some_and(|w| error.same_kind(&w.reason)));
    let failures = before.map_or(0, |waiting| waiting.failures + 1);
    let until = Timestamp::now()
        + if error.is_config() {
            jiff::SignedDuration::from_secs(1) * (1 << failures.min(4))
        } else {
            delay(failures)
        };
    ctx.events.warning(
        &events::about_container(pod, &container.name),
        error.event(),
        error.event_text(container),
    );
    observed.waiting = Some(Waiting {
        reason: error.reason().to_string(),
        message: error.to_string(),
        until,
        failures,
    });
}

/// A container of a pod by its name, of whatever sort.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    find_in(pod.spec.as_ref()?, name)
}
