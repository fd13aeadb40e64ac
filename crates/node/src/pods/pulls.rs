//! The images of a worker's containers: looked for before a container starts, pulled meanwhile when they aren't here.
//! Pulls end with the worker; nothing in here decides when a container starts.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::ephemeral::find_in;
use super::start::{self, StartError};
use super::worker::{Wake, Worker, failed, find};
use crate::images::{self, Need};

/// A pull for a container.
pub(super) enum Pull {
    Running(#[expect(dead_code, reason = "held so that it ends with the worker")] AbortOnDrop),
    Ended(Result<(), StartError>),
}

/// A task that nobody wants any more ends.
pub(super) struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    pub(super) fn retry_images(&mut self) {
        let now = Timestamp::now();
        for (name, observed) in &mut self.world {
            let Some(waiting) = observed.waiting.as_mut() else {
                continue;
            };
            if start::is_image_reason(&waiting.reason)
                && let Some(image) = find(&self.pod, name).and_then(|container| container.image.clone())
                && images::is_here(&self.ctx, &image)
            {
                waiting.until = now;
            }
        }
    }

    /// Those of the containers whose images are here, and whether one's can't be had. The others' are pulled meanwhile.
    pub(super) async fn with_images(&mut self, spec: &PodSpec, names: Vec<String>) -> (Vec<String>, bool) {
        let mut ready = Vec::new();
        let mut some_failed = false;
        for name in names {
            let Some(container) = find_in(spec, &name) else {
                continue;
            };
            let result = match self.pulls.remove(&name) {
                Some(Pull::Ended(result)) => result.map(|()| Need::Nothing),
                Some(running @ Pull::Running(_)) => {
                    self.pulls.insert(name, running);
                    continue;
                }
                None => images::check(&self.ctx, &self.pod, &container).await,
            };
            match result {
                Ok(Need::Nothing) => ready.push(name),
                Ok(Need::Pull) => self.pull(&container),
                Err(error) => {
                    some_failed = true;
                    let observed = self.world.entry(name).or_default();
                    failed(&self.ctx, &self.pod, observed, &container, error);
                }
            }
        }
        (ready, some_failed)
    }

    fn pull(&mut self, container: &Container) {
        let (ctx, pod, sender) = (self.ctx.clone(), self.pod.clone(), self.sender.clone());
        let wanted = container.clone();
        let task = tokio::spawn(async move {
            let result = images::pull(&ctx, &pod, &wanted).await;
            let _ = sender.send(Wake::Pulled(wanted.name, result));
        });
        let pull = Pull::Running(AbortOnDrop(task.abort_handle()));
        self.pulls.insert(container.name.clone(), pull);
    }
}
