//! Resizing running containers: what `resize` decides is carried out on their cgroups.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;

use super::ephemeral::find_in;
use super::resize::{self, Decision};
use super::stop;
use super::worker::Worker;
use super::{events, resize::Applied};
use crate::bundle::resources;
use crate::machine;

/// When a resize that found no room is looked at again, besides whenever the pod changes.
const AGAIN: Duration = Duration::from_secs(20);

impl Worker {
    /// Takes over what the API says that the running containers have; they were started by an earlier life.
    pub(super) fn known_resources(&self) -> Applied {
        let status = self.pod.status.iter();
        let lists = status.flat_map(|status| [&status.container_statuses, &status.init_container_statuses]);
        let statuses = lists.flat_map(|list| list.iter().flatten());
        let running = statuses.filter(|status| {
            self.world
                .get(&status.name)
                .is_some_and(|observed| observed.running().is_some())
        });
        running
            .filter_map(|status| Some((status.name.clone(), status.resources.clone()?)))
            .collect()
    }

    /// Gives running containers what the specification says. Returns when to look again.
    pub(super) async fn resize(&mut self, spec: &PodSpec) -> Option<Timestamp> {
        let capacity = [
            i64::try_from(machine::cpus() * 1000).unwrap_or(i64::MAX),
            i64::try_from(machine::memory()).unwrap_or(i64::MAX),
        ];
        let pods = self.ctx.pods.all();
        let room = resize::room(&pods, self.pod.metadata.uid.as_deref(), capacity);
        let decision = resize::decide(spec, &self.facts.applied, &self.world, &room);
        let before = self.facts.resize_pending.take();
        match decision {
            Decision::Nothing => None,
            Decision::Pending(reason, message) => {
                let now = (reason.to_string(), message);
                if before.as_ref() != Some(&now) {
                    let text = format!("Pod resize {reason}: {}", now.1);
                    let event = format!("Resize{reason}");
                    self.ctx.events.warning(&events::about(&self.pod), &event, text);
                }
                self.facts.resize_pending = Some(now);
                (reason == "Deferred").then(|| Timestamp::now() + AGAIN)
            }
            Decision::Change(names) => {
                self.change(spec, &names).await;
                None
            }
            Decision::Restart(names) => {
                self.restart(spec, &names).await;
                None
            }
        }
    }

    async fn change(&mut self, spec: &PodSpec, names: &[String]) {
        let about = events::about(&self.pod);
        let generation = self.pod.metadata.generation.unwrap_or(0);
        let started = format!("Pod resize started: generation {generation}");
        self.ctx.events.normal(&about, "ResizeStarted", started);
        match self.limit(spec, names).await {
            Ok(()) => {
                for container in names.iter().filter_map(|name| find_in(spec, name)) {
                    let wanted = resize::wanted(&container);
                    self.facts.applied.insert(container.name.clone(), wanted);
                }
                self.facts.resize_error = None;
                let completed = format!("Pod resize completed: generation {generation}");
                self.ctx.events.normal(&about, "ResizeCompleted", completed);
            }
            Err(error) => {
                let text = format!("Pod resize error: {error}");
                self.ctx.events.warning(&about, "ResizeError", text);
                self.facts.resize_error = Some(error);
            }
        }
    }

    /// What grows must first have room in the pod, and what shrinks must have shrunk before the pod does: the pod is tried
    /// before and after, and the second time counts.
    async fn limit(&self, spec: &PodSpec, names: &[String]) -> Result<(), String> {
        let Some(slot) = &self.slot else { return Ok(()) };
        let engine = &self.ctx.engine;
        let of_pod = resources::of_pod(&self.pod);
        let _ = engine.sandbox_update(&slot.id, &of_pod).await;
        for name in names {
            let run = self.world.get(name).and_then(|observed| observed.current.as_ref());
            if let (Some(run), Some(container)) = (run, find_in(spec, name)) {
                let limits = resources::of_container(&container);
                engine
                    .update(&run.id, &limits)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        let both = engine.sandbox_update(&slot.id, &of_pod).await;
        both.map_err(|error| error.to_string())
    }

    /// Ends the containers; the plan starts them again, with what they should have.
    async fn restart(&mut self, spec: &PodSpec, names: &[String]) {
        if let Some(slot) = &self.slot {
            let _ = self
                .ctx
                .engine
                .sandbox_update(&slot.id, &resources::of_pod(&self.pod))
                .await;
        }
        let grace = spec.termination_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(30));
        let address = self.facts.pod_ips.first().cloned();
        for name in names {
            let run = self.world.get(name).and_then(|observed| observed.current.clone());
            if let (Some(run), Some(container)) = (run, find_in(spec, name)) {
                let text = format!("Container {name} resize requires restart");
                self.ctx
                    .events
                    .normal(&events::about_container(&self.pod, name), "Killing", text);
                stop::container(&self.ctx, &self.pod, &container, &run, address.as_deref(), grace).await;
                self.facts.applied.remove(name);
            }
        }
        self.look();
    }
}
