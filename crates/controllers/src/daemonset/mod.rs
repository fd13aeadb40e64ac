//! Keeps a pod on each node that a daemon set's template fits, and rolls new templates out.

mod place;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Informer, ObjectKey};
use futures::future::join_all;
use hashbrown::HashMap;
use jiff::Timestamp;
use meta::labels::Selector;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::children::{Children, Parent, is_namespace_going};
use crate::history::{Current, Found, Histories, Source};
use crate::world::{DaemonSet, DaemonStatus, Node, Pod, World, daemon_tolerations};
use crate::write::{Kind, Patch, Writer, count};

use self::plan::{Failure, HASH, Plan, Situation};

/// The most pods that one round creates or deletes.
const BURST: usize = 250;
/// After a failed pod on a node, the next one waits: first this long, doubled each time, at most that long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(900);
/// The older label of a pod that says which template it is of.
const GENERATION: &str = "pod-template-generation";
const GENERATION_NOTE: &str = "deprecated.daemonset.template.generation";

/// The controller of daemon sets.
pub(crate) struct Controller {
    sets: Informer<DaemonSet>,
    nodes: Informer<Node>,
    children: Children,
    histories: Histories,
    writer: Writer,
    /// By daemon set's uid, then by node.
    failures: Mutex<HashMap<String, HashMap<String, Failure>>>,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let kind = Kind::new("apps/v1", "DaemonSet", "daemonsets");
        let histories = Histories::new(kind.clone(), HASH, &world.revisions, &writer);
        let (queue, children) = (Queue::default(), Children::new(kind, &world.pods, &writer));
        let keys = queue.clone();
        world.daemonsets.subscribe(move |change| keys.add(change.key.clone()));
        children.follow(&world.daemonsets, &queue);
        let (keys, sets) = (queue.clone(), world.daemonsets.clone());
        world.nodes.subscribe(move |change| {
            let place = |node: &Arc<Node>| (node.labels.clone(), node.taints.clone());
            if change.before.as_ref().map(place) != change.after.as_ref().map(place) {
                sets.list().iter().for_each(|set| keys.add(set.key.clone()));
            }
        });
        let controller = Self {
            sets: world.daemonsets.clone(),
            nodes: world.nodes.clone(),
            children,
            histories,
            writer,
            failures: Mutex::default(),
        };
        (controller, queue)
    }

    async fn act(&self, set: &DaemonSet, pods: &[Arc<Pod>], plan: &Plan, hash: &str) -> Result<(), kube::Error> {
        let about = self.children.kind.regarding(&set.key, &set.uid);
        for (warning, reason, message) in &plan.events {
            match warning {
                true => self.writer.recorder.warning(&about, reason, message.clone()),
                false => self.writer.recorder.normal(&about, reason, message.clone()),
            }
        }
        self.note_failures(set, &plan.failed);
        let created = self.create(set, &plan.create, hash).await;
        let doomed = plan
            .delete
            .iter()
            .filter_map(|uid| pods.iter().find(|pod| pod.uid == *uid));
        let deleted = join_all(doomed.take(BURST).map(|pod| self.children.delete(set, pod))).await;
        created.and(deleted.into_iter().collect())
    }

    /// Creates pods in growing batches, so that a refusal costs few requests.
    async fn create(&self, set: &DaemonSet, nodes: &[String], hash: &str) -> Result<(), kube::Error> {
        if nodes.is_empty() {
            return Ok(());
        }
        let template = template(set, hash).map_err(kube::Error::SerdeError)?;
        let prefix = format!("{}-", set.key.name);
        let mut left = &nodes[..nodes.len().min(BURST)];
        let mut batch = 1;
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let results = join_all(
                now.iter()
                    .map(|node| self.create_on(set, node, &prefix, template.clone())),
            )
            .await;
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
            left = later;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_on(
        &self,
        set: &DaemonSet,
        node: &str,
        prefix: &str,
        mut template: Value,
    ) -> Result<(), kube::Error> {
        aim(&mut template["spec"], node);
        self.children.create(set, prefix, &template).await
    }

    fn note_failures(&self, set: &DaemonSet, nodes: &[String]) {
        if nodes.is_empty() {
            return;
        }
        let (now, mut all) = (Timestamp::now(), self.failures.lock());
        let known = all.entry(set.uid.clone()).or_default();
        for node in nodes {
            let wait = match known.get(node) {
                // What has been quiet for long begins anew.
                Some(known) if now.duration_since(known.last).as_secs() < 2 * 900 => (known.wait * 2).min(MOST_WAIT),
                _ => FIRST_WAIT,
            };
            known.insert(node.clone(), Failure { last: now, wait });
        }
    }

    async fn write_status(&self, set: &DaemonSet, status: &DaemonStatus) -> Result<(), kube::Error> {
        if *status == set.status {
            return Ok(());
        }
        let body = json!({ "metadata": { "uid": set.uid }, "status": {
            "observedGeneration": status.observed_generation,
            "desiredNumberScheduled": status.desired,
            "currentNumberScheduled": status.current,
            "numberMisscheduled": status.misscheduled,
            "numberReady": status.ready,
            "updatedNumberScheduled": count(status.updated),
            "numberAvailable": count(status.available),
            "numberUnavailable": count(status.unavailable),
            "collisionCount": count(status.collisions),
        }});
        let written = self
            .writer
            .patch_sub(&self.children.kind, &set.key, "status", Patch::Merge, &body)
            .await;
        match written {
            Err(error) if !client::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn bring_up(&self, set: &DaemonSet, found: &Found) -> Result<Next, kube::Error> {
        let settled = self.children.expected.met(&set.key);
        let pods = self.children.of(set, None).await?;
        let failures = self.failures.lock().get(&set.uid).cloned().unwrap_or_default();
        let nodes = self.nodes.list();
        let situation = Situation {
            set,
            nodes: &nodes,
            pods: &pods,
            hash: &found.hash,
            failures: &failures,
            now: Timestamp::now(),
        };
        let plan = match settled {
            true => plan::plan(&situation),
            false => Plan::default(),
        };
        let mut done = self.act(set, &pods, &plan, &found.hash).await;
        if settled && done.is_ok() {
            let live: BTreeSet<String> = pods.iter().filter_map(|pod| pod.labels.get(HASH).cloned()).collect();
            done = self.histories.clean_up(&found.old, set.history_limit, &live).await;
        }
        let (status, wait) = plan::status(&situation, settled);
        self.write_status(set, &status).await?;
        match done {
            Err(error) if !is_namespace_going(&error) => Err(error),
            _ => Ok(plan
                .wait
                .into_iter()
                .chain(wait)
                .min()
                .map_or(Next::Change, Next::After)),
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "daemonset"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(set) = self.sets.get(key) else {
            self.children.expected.forget(key);
            let alive = self.sets.list();
            self.failures
                .lock()
                .retain(|uid, _| alive.iter().any(|set| set.uid == *uid));
            return Ok(Next::Change);
        };
        if set.deleting || set.selector.is_none() {
            return Ok(Next::Change);
        }
        let source = Source {
            template: &set.template,
            annotations: &set.annotations,
            collisions: set.status.collisions,
        };
        match self.histories.current(&*set, &source).await {
            Ok(Current::Known(found)) => self.bring_up(&set, &found).await,
            Ok(Current::Collision) => {
                let status = DaemonStatus {
                    collisions: set.status.collisions + 1,
                    ..set.status.clone()
                };
                self.write_status(&set, &status).await?;
                Ok(Next::Change)
            }
            Err(error) if is_namespace_going(&error) => Ok(Next::Change),
            Err(error) => Err(error),
        }
    }
}

impl Parent for DaemonSet {
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

/// The template of a set's pods: its own, told of its revision, with what every daemon tolerates.
fn template(set: &DaemonSet, hash: &str) -> Result<Value, serde_json::Error> {
    let mut template: Value = serde_json::from_str(&set.template)?;
    template["metadata"]["labels"][HASH] = hash.into();
    if let Some(generation) = set.annotations.get(GENERATION_NOTE) {
        template["metadata"]["labels"][GENERATION] = generation.as_str().into();
    }
    let spec = &mut template["spec"];
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for toleration in daemon_tolerations(spec["hostNetwork"] == true) {
        let toleration = serde_json::to_value(toleration)?;
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    spec["tolerations"] = tolerations.into();
    Ok(template)
}

/// Makes the scheduler put a pod on this node and no other.
fn aim(spec: &mut Value, node: &str) {
    let terms = json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }]);
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] = terms;
}
