//! Runs pods until enough of them have succeeded: jobs, with indexes or without.

mod backoff;
mod indexes;
mod orphans;
mod plan;
mod policy;
#[cfg(test)]
mod tests;
mod track;
mod ttl;

use std::sync::Arc;

use client::{Informer, ObjectKey};
use futures::future::join_all;
use hashbrown::HashMap;
use jiff::Timestamp;
use meta::labels::Selector;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::children::{Children, Parent, is_namespace_going};
use crate::world::{Condition, FAILURES, IGNORED, INDEX, Job, JobStatus, Pod, TRACKING, World};
use crate::write::{Kind, Patch, Writer, count};

use self::backoff::Backoff;
use self::plan::{NewPod, Plan, Step};

pub(crate) use self::orphans::Orphans;
pub(crate) use self::ttl::Ttl;

/// The environment variable with a pod's index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The controller of jobs.
pub(crate) struct Controller {
    jobs: Informer<Job>,
    children: Children,
    writer: Writer,
    /// What is remembered of each job between rounds.
    memory: Mutex<HashMap<ObjectKey, Memory>>,
}

/// What a job's status doesn't say.
#[derive(Clone, Default)]
struct Memory {
    uid: String,
    /// The revision of the last status that was written: an older one says less than is known.
    written: u64,
    backoff: Backoff,
}

/// A job for others' tests.
#[cfg(test)]
pub(crate) fn testing() -> Job {
    tests::job(1, 1)
}

fn kind() -> Kind {
    Kind::new("batch/v1", "Job", "jobs")
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let (queue, children) = (Queue::default(), Children::new(kind(), &world.pods, &writer));
        let keys = queue.clone();
        world.jobs.subscribe(move |change| keys.add(change.key.clone()));
        children.follow(&world.jobs, &queue);
        let controller = Self {
            jobs: world.jobs.clone(),
            children,
            writer,
            memory: Mutex::default(),
        };
        (controller, queue)
    }

    /// Does what the plan says to the pods; answers how many of those to create were refused.
    async fn act(&self, job: &Job, pods: &[Arc<Pod>], step: &Step) -> Result<(), (usize, kube::Error)> {
        match step {
            Step::Nothing => Ok(()),
            Step::Create(new) => self.create(job, new).await,
            Step::Delete { uids, over } => {
                let doomed = uids.iter().filter_map(|uid| pods.iter().find(|pod| pod.uid == *uid));
                let results = join_all(doomed.map(|pod| self.delete(job, pod, *over))).await;
                let result: Result<(), kube::Error> = results.into_iter().collect();
                result.map_err(|error| (0, error))
            }
        }
    }

    async fn delete(&self, job: &Job, pod: &Pod, over: bool) -> Result<(), kube::Error> {
        if !over {
            // It isn't to be counted.
            self.children.take_finalizer(pod, TRACKING).await?;
        }
        self.children.delete(job, pod).await
    }

    /// Creates pods in growing batches, so that a refusal costs few requests.
    async fn create(&self, job: &Job, new: &[NewPod]) -> Result<(), (usize, kube::Error)> {
        let template: Value =
            serde_json::from_str(&job.template).map_err(|error| (new.len(), kube::Error::SerdeError(error)))?;
        let (mut done, mut batch) = (0, 1);
        while done < new.len() {
            let size = batch.min(new.len() - done);
            let results = join_all(
                new[done..done + size]
                    .iter()
                    .map(|pod| self.create_one(job, &template, pod)),
            )
            .await;
            let (made, mut refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            if let Some(Err(error)) = refused.pop() {
                return Err((new.len() - done - made.len(), error));
            }
            done += size;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, job: &Job, template: &Value, pod: &NewPod) -> Result<(), kube::Error> {
        let name = &job.key.name;
        let mut template = template.clone();
        let finalizers = &mut template["metadata"]["finalizers"];
        let mut all = finalizers.as_array().cloned().unwrap_or_default();
        all.push(TRACKING.into());
        *finalizers = all.into();
        let Some(index) = pod.index else {
            return self.children.create(job, &format!("{name}-"), &template).await;
        };
        template["metadata"]["annotations"][INDEX] = index.to_string().into();
        template["metadata"]["labels"][INDEX] = index.to_string().into();
        template["spec"]["hostname"] = format!("{name}-{index}").into();
        if let Some((failures, ignored)) = pod.failures {
            template["metadata"]["annotations"][FAILURES] = failures.to_string().into();
            if ignored > 0 {
                template["metadata"]["annotations"][IGNORED] = ignored.to_string().into();
            }
        }
        for list in ["containers", "initContainers"] {
            for container in template["spec"][list].as_array_mut().into_iter().flatten() {
                tell_index(container);
            }
        }
        let tail = format!("-{index}-");
        // Room for what makes the name unique stays within a name's 63 characters.
        let head: String = name.chars().take(58 - tail.len()).collect();
        self.children.create(job, &format!("{head}{tail}"), &template).await
    }

    async fn write_status(&self, job: &Job, plan: &Plan) -> Result<u64, kube::Error> {
        let body = json!({
            "metadata": { "uid": job.uid, "resourceVersion": job.version },
            "status": to_json(&plan.status),
        });
        let written = self
            .writer
            .patch_sub(&self.children.kind, &job.key, "status", Patch::Merge, &body)
            .await?;
        Ok(written["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|version| version.parse().ok())
            .unwrap_or(0))
    }

    fn recall(&self, job: &Job) -> Memory {
        let known = self
            .memory
            .lock()
            .get(&job.key)
            .cloned()
            .filter(|known| known.uid == job.uid);
        known.unwrap_or_else(|| Memory {
            uid: job.uid.clone(),
            ..Memory::default()
        })
    }

    fn forget(&self, key: &ObjectKey) {
        self.children.expected.forget(key);
        self.memory.lock().remove(key);
    }

    /// Writes the status, then lets the pods go that are in it.
    async fn settle(&self, job: &Job, pods: &[Arc<Pod>], plan: &Plan, mut known: Memory) -> Result<(), kube::Error> {
        if plan.status != job.status {
            match self.write_status(job, plan).await {
                Ok(version) => known.written = version,
                Err(error) if client::is_not_found(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            let about = self.children.kind.regarding(&job.key, &job.uid);
            for (warning, reason, message) in &plan.events {
                match warning {
                    true => self.writer.recorder.warning(&about, reason, message.clone()),
                    false => self.writer.recorder.normal(&about, reason, message.clone()),
                }
            }
        }
        known.backoff = plan.backoff.clone();
        self.memory.lock().insert(job.key.clone(), known);
        let free = plan
            .release
            .iter()
            .filter_map(|uid| pods.iter().find(|pod| pod.uid == *uid));
        let results = join_all(free.map(|pod| self.children.take_finalizer(pod, TRACKING))).await;
        results.into_iter().collect()
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "job"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(job) = self.jobs.get(key) else {
            self.forget(key);
            return Ok(Next::Change);
        };
        if job.foreign {
            return Ok(Next::Change);
        }
        if job.is_finished() {
            self.forget(key);
            return Ok(Next::Change);
        }
        let known = self.recall(&job);
        if job.version.parse::<u64>().is_ok_and(|version| version < known.written) {
            // What was written last is still on its way here.
            return Ok(Next::Change);
        }
        let settled = self.children.expected.met(key);
        let pods = self.children.of(&*job, Some(TRACKING)).await?;
        let mut plan = plan::plan(&job, &pods, settled, &known.backoff, Timestamp::now());
        let (refused, failure) = match self.act(&job, &pods, &plan.step).await {
            Ok(()) => (0, None),
            Err((refused, error)) => (refused, Some(error)),
        };
        if let Step::Delete { .. } = plan.step
            && let Some(error) = failure
        {
            // What wasn't deleted may not be called terminating.
            return Err(error);
        }
        plan.status.active -= plan::count(refused);
        self.settle(&job, &pods, &plan, known).await?;
        match failure {
            Some(error) if !is_namespace_going(&error) => Err(error),
            Some(_) => Ok(Next::Change),
            None => Ok(plan.wait.map_or(Next::Change, Next::After)),
        }
    }
}

impl Parent for Job {
    fn key(&self) -> &ObjectKey {
        &self.key
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn deleting(&self) -> bool {
        self.deleting
    }

    fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }
}

/// Gives a container its pod's index, unless it says itself what the variable is.
fn tell_index(container: &mut Value) {
    let variable = json!({
        "name": INDEX_VARIABLE,
        "valueFrom": { "fieldRef": { "fieldPath": format!("metadata.labels['{INDEX}']") } },
    });
    let mut all = container["env"].as_array().cloned().unwrap_or_default();
    if all.iter().all(|known| known["name"] != INDEX_VARIABLE) {
        all.push(variable);
        container["env"] = all.into();
    }
}

/// A status as it is written: a merge patch that leaves nothing of the one before.
fn to_json(status: &JobStatus) -> Value {
    let time = |time: Option<Timestamp>| time.map(meta::time::format_seconds);
    let uids = |uids: &[String]| if uids.is_empty() { Value::Null } else { json!(uids) };
    json!({
        "active": count(status.active),
        "ready": status.ready,
        "terminating": status.terminating,
        "succeeded": count(status.succeeded),
        "failed": count(status.failed),
        "startTime": time(status.started),
        "completionTime": time(status.completed),
        "completedIndexes": Some(&status.completed_indexes).filter(|text| !text.is_empty()),
        "failedIndexes": status.failed_indexes,
        "uncountedTerminatedPods": {
            "succeeded": uids(&status.uncounted_succeeded),
            "failed": uids(&status.uncounted_failed),
        },
        "conditions": status.conditions.iter().map(condition).collect::<Vec<_>>(),
    })
}

fn condition(condition: &Condition) -> Value {
    let time = |time: Option<Timestamp>| time.map(meta::time::format_seconds);
    json!({
        "type": condition.kind,
        "status": condition.status,
        "lastProbeTime": time(condition.updated),
        "lastTransitionTime": time(condition.changed),
        "reason": condition.reason,
        "message": condition.message,
    })
}
