//! Lets pods go that no job will count any more: their job is gone, or they are nobody's.

use client::{Informer, ObjectKey};
use reconcile::{Next, Queue, Reconciler};

use crate::children::Children;
use crate::world::{BY_OWNER, Job, Pod, TRACKING, World};
use crate::write::Writer;

/// Takes the finalizers of jobs off such pods; its keys are those of pods.
pub(crate) struct Orphans {
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    children: Children,
}

impl Orphans {
    pub(crate) fn new(world: &World, writer: &Writer) -> (Self, Queue<ObjectKey>) {
        let queue: Queue<ObjectKey> = Queue::default();
        let keys = queue.clone();
        world.pods.subscribe(move |change| {
            let tracked = |pod: &Pod| pod.job.as_ref().is_some_and(|about| about.tracked);
            if change.after.as_deref().is_some_and(tracked) {
                keys.add(change.key.clone());
            }
        });
        let (keys, pods) = (queue.clone(), world.pods.clone());
        world.jobs.subscribe(move |change| {
            if let (Some(before), None) = (&change.before, &change.after) {
                let left = pods.by(BY_OWNER, &before.uid);
                left.iter().for_each(|pod| keys.add(pod.key.clone()));
            }
        });
        let orphans = Self {
            jobs: world.jobs.clone(),
            pods: world.pods.clone(),
            children: Children::new(super::kind(), &world.pods, writer),
        };
        (orphans, queue)
    }

    /// Whether a job is there that will count the pod, now or later.
    fn is_counted(&self, pod: &Pod) -> bool {
        let Some(owner) = pod.owner.as_ref().filter(|owner| owner.kind == "Job") else {
            return false;
        };
        let key = ObjectKey {
            namespace: pod.key.namespace.clone(),
            name: owner.name.clone(),
        };
        let job = self.jobs.get(&key);
        job.is_some_and(|job| job.uid == owner.uid && (job.foreign || !job.is_finished()))
    }
}

impl Reconciler for Orphans {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "job-orphan"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let pod = self
            .pods
            .get(key)
            .filter(|pod| pod.job.as_ref().is_some_and(|about| about.tracked));
        if let Some(pod) = pod.filter(|pod| !self.is_counted(pod)) {
            self.children.take_finalizer(&pod, TRACKING).await?;
        }
        Ok(Next::Change)
    }
}
