//! Starts jobs by the clock.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;
mod zone;

use std::sync::Arc;

use client::{Informer, ObjectKey};
use hashbrown::HashMap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::children::{is_namespace_going, tell};
use crate::owner;
use crate::world::{BY_OWNER, CronJob, CronStatus, Job, World};
use crate::write::{Kind, Patch, Writer};

use self::plan::{Plan, job_name, reference};

/// The annotation of a job with the time that it was started for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The controller of cron jobs.
pub(crate) struct Controller {
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    writer: Writer,
    cron: Kind,
    job: Kind,
    /// The revision of the last status that was written, by key and uid: an older one says less than is known.
    written: Mutex<HashMap<(ObjectKey, String), u64>>,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue: Queue<ObjectKey> = Queue::default();
        let keys = queue.clone();
        world.cronjobs.subscribe(move |change| keys.add(change.key.clone()));
        let keys = queue.clone();
        world.jobs.subscribe(move |change| {
            let job = change.after.as_ref().or(change.before.as_ref());
            if let Some(owner) = job
                .and_then(|job| job.owner.as_ref())
                .filter(|owner| owner.kind == "CronJob")
            {
                keys.add(ObjectKey {
                    namespace: change.key.namespace.clone(),
                    name: owner.name.clone(),
                });
            }
        });
        let controller = Self {
            crons: world.cronjobs.clone(),
            jobs: world.jobs.clone(),
            writer,
            cron: Kind::new("batch/v1", "CronJob", "cronjobs"),
            job: Kind::new("batch/v1", "Job", "jobs"),
            written: Mutex::default(),
        };
        (controller, queue)
    }

    /// Jobs that are said to run and aren't there: the API is asked, since a new one may not be seen yet.
    async fn gone(&self, cron: &CronJob, jobs: &[Arc<Job>]) -> Result<Vec<String>, kube::Error> {
        let mut gone = Vec::new();
        for active in &cron.status.active {
            let uid = active["uid"].as_str().unwrap_or_default();
            if jobs.iter().any(|job| job.uid == uid) {
                continue;
            }
            match self.find(cron, active["name"].as_str().unwrap_or_default()).await? {
                Some(job) if job["metadata"]["uid"] == uid => {}
                _ => gone.push(uid.to_owned()),
            }
        }
        Ok(gone)
    }

    async fn find(&self, cron: &CronJob, name: &str) -> Result<Option<Value>, kube::Error> {
        let path = format!("{}/{name}", self.job.path(cron.key.namespace.as_deref()));
        match self.writer.get(&path).await {
            Ok(job) => Ok(Some(job)),
            Err(error) if client::is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn act(
        &self,
        cron: &CronJob,
        jobs: &[Arc<Job>],
        plan: &Plan,
        zone: TimeZone,
    ) -> Result<CronStatus, kube::Error> {
        let about = self.cron.regarding(&cron.key, &cron.uid);
        for (warning, reason, message) in &plan.events {
            match warning {
                true => self.writer.recorder.warning(&about, reason, message.clone()),
                false => self.writer.recorder.normal(&about, reason, message.clone()),
            }
        }
        for uid in plan.delete.iter().chain(&plan.replace) {
            let Some(job) = jobs.iter().find(|job| job.uid == *uid) else {
                continue;
            };
            let options = json!({ "propagationPolicy": "Background" });
            self.writer.delete(&self.job, &job.key, uid, options).await?;
            let message = format!("Deleted job {}", job.key.name);
            self.writer.recorder.normal(&about, "SuccessfulDelete", message);
        }
        let mut status = plan.status.clone();
        let Some(time) = plan.create else { return Ok(status) };
        let body = job(cron, time, zone).map_err(kube::Error::SerdeError)?;
        let created = match self
            .writer
            .create(&self.job, cron.key.namespace.as_deref(), &body)
            .await
        {
            Ok(created) => {
                let message = format!("Created job {}", job_name(cron, time));
                self.writer.recorder.normal(&about, "SuccessfulCreate", message);
                created
            }
            Err(kube::Error::Api(refusal)) if refusal.reason == "AlreadyExists" => {
                // Mostly ours, made before this process was killed.
                let there = self.find(cron, &job_name(cron, time)).await?;
                let owners = there
                    .as_ref()
                    .and_then(|there| there["metadata"]["ownerReferences"].as_array());
                if !owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == cron.uid.as_str())) {
                    return Ok(status);
                }
                there.unwrap_or_default()
            }
            Err(error) => {
                if !is_namespace_going(&error) {
                    let message = format!("Error creating job: {}", tell(&error));
                    self.writer.recorder.warning(&about, "FailedCreate", message);
                }
                return Err(error);
            }
        };
        status.active.push(reference(&created));
        status.last_schedule = Some(time);
        Ok(status)
    }

    async fn write_status(&self, cron: &CronJob, status: &CronStatus) -> Result<(), kube::Error> {
        if *status == cron.status {
            return Ok(());
        }
        let time = |time: Option<Timestamp>| time.map(meta::time::format_seconds);
        let body = json!({
            "metadata": { "uid": cron.uid, "resourceVersion": cron.version },
            "status": {
                "active": Some(&status.active).filter(|active| !active.is_empty()),
                "lastScheduleTime": time(status.last_schedule),
                "lastSuccessfulTime": time(status.last_success),
            },
        });
        let written = self
            .writer
            .patch_sub(&self.cron, &cron.key, "status", Patch::Merge, &body)
            .await;
        match written {
            Ok(written) => {
                let version = written["metadata"]["resourceVersion"]
                    .as_str()
                    .and_then(|text| text.parse().ok());
                let key = (cron.key.clone(), cron.uid.clone());
                self.written.lock().insert(key, version.unwrap_or(0));
                Ok(())
            }
            Err(error) if client::is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The job for a time.
fn job(cron: &CronJob, time: Timestamp, zone: TimeZone) -> Result<Value, serde_json::Error> {
    let template: Value = serde_json::from_str(&cron.template)?;
    let format = if zone == TimeZone::UTC {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%:z"
    };
    let mut annotations = template["metadata"]["annotations"].clone();
    annotations[SCHEDULED] = time.to_zoned(zone).strftime(format).to_string().into();
    let owner = Kind::new("batch/v1", "CronJob", "cronjobs");
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron, time), "namespace": cron.key.namespace,
            "labels": template["metadata"]["labels"], "annotations": annotations,
            "ownerReferences": [owner::reference(&owner, &cron.key.name, &cron.uid)],
        },
        "spec": template["spec"],
    }))
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "cronjob"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(cron) = self.crons.get(key) else {
            self.written.lock().retain(|(known, _), _| known != key);
            return Ok(Next::Change);
        };
        let known = self
            .written
            .lock()
            .get(&(key.clone(), cron.uid.clone()))
            .copied()
            .unwrap_or(0);
        if cron.version.parse::<u64>().is_ok_and(|version| version < known) {
            // What was written last is still on its way here.
            return Ok(Next::Change);
        }
        let jobs = self.jobs.by(BY_OWNER, &cron.uid);
        let gone = self.gone(&cron, &jobs).await?;
        let zone = zone::find(cron.zone.as_deref());
        let plan = plan::plan(&cron, &jobs, &gone, &zone, Timestamp::now());
        match self.act(&cron, &jobs, &plan, zone.unwrap_or(TimeZone::UTC)).await {
            Ok(status) => self.write_status(&cron, &status).await?,
            Err(error) if is_namespace_going(&error) => return Ok(Next::Change),
            Err(error) => {
                self.write_status(&cron, &plan.status).await?;
                return Err(error);
            }
        }
        Ok(plan.wait.map_or(Next::Change, Next::After))
    }
}
