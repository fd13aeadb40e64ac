//! Deletes jobs some time after they have finished, where they say so.

use std::time::Duration;

use client::{Informer, ObjectKey};
use jiff::Timestamp;
use reconcile::{Next, Queue, Reconciler};
use serde_json::json;

use crate::world::{Job, World};
use crate::write::Writer;

/// The controller.
pub(crate) struct Ttl {
    jobs: Informer<Job>,
    writer: Writer,
}

impl Ttl {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue: Queue<ObjectKey> = Queue::default();
        let keys = queue.clone();
        world.jobs.subscribe(move |change| {
            let due = |job: &Job| left(job, Timestamp::now()).is_some();
            if change.after.as_deref().is_some_and(due) {
                keys.add(change.key.clone());
            }
        });
        let controller = Self {
            jobs: world.jobs.clone(),
            writer,
        };
        (controller, queue)
    }
}

/// How long a job stays still; none when nothing says that it goes.
pub(super) fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let finished = job.finished().and_then(|condition| condition.changed)?;
    if job.deleting {
        return None;
    }
    let left = finished.as_second() + job.ttl? - now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

impl Reconciler for Ttl {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "ttl-after-finished"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(job) = self.jobs.get(key) else {
            return Ok(Next::Change);
        };
        match left(&job, Timestamp::now()) {
            None => Ok(Next::Change),
            Some(left) if !left.is_zero() => Ok(Next::After(left)),
            Some(_) => {
                let options = json!({ "propagationPolicy": "Foreground" });
                self.writer.delete(&super::kind(), key, &job.uid, options).await?;
                Ok(Next::Change)
            }
        }
    }
}
