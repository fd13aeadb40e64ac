//! Rolls a deployment's template out over replica sets.

mod plan;
mod status;
pub(crate) mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::ObjectKey;
use jiff::Timestamp;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::conditions;
use crate::owner::{self, Claim};
use crate::world::{BY_NAMESPACE, BY_OWNER, Deployment, DeploymentStatus, Labels, Phase, ReplicaSet, World};
use crate::write::{Kind, Patch, Writer, count};

use self::plan::{Sets, Step};

/// The deployment controller.
pub(crate) struct Controller {
    kind: Kind,
    set: Kind,
    world: World,
    writer: Writer,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let keys = queue.clone();
        world.deployments.subscribe(move |change| keys.add(change.key.clone()));
        let (keys, deployments) = (queue.clone(), world.deployments.clone());
        world.replicasets.subscribe(move |change| {
            let sides = [&change.before, &change.after];
            let owners = sides.into_iter().flatten().filter_map(|set| set.owner.as_ref());
            for owner in owners.filter(|owner| owner.kind == "Deployment") {
                keys.add(ObjectKey {
                    namespace: change.key.namespace.clone(),
                    name: owner.name.clone(),
                });
            }
            if let Some(orphan) = change.after.as_ref().filter(|set| set.owner.is_none()) {
                let matching = deployments.list().into_iter().filter(|deployment| {
                    deployment.key.namespace == orphan.key.namespace
                        && deployment
                            .selector
                            .as_ref()
                            .is_some_and(|selector| selector.matches(&orphan.labels))
                });
                matching.for_each(|deployment| keys.add(deployment.key.clone()));
            }
        });
        // A rollout that recreates waits for the last old pod to go.
        let (keys, sets) = (queue.clone(), world.replicasets.clone());
        let deployments = world.deployments.clone();
        world.pods.subscribe(move |change| {
            let Some(pod) = change.before.as_ref().filter(|_| change.after.is_none()) else {
                return;
            };
            let Some(owner) = pod.owner.as_ref().filter(|owner| owner.kind == "ReplicaSet") else {
                return;
            };
            let key = ObjectKey {
                namespace: pod.key.namespace.clone(),
                name: owner.name.clone(),
            };
            let Some(name) = sets.get(&key).and_then(|set| Some(set.owner.as_ref()?.name.clone())) else {
                return;
            };
            let key = ObjectKey { name, ..key };
            if deployments.get(&key).is_some_and(|deployment| deployment.recreate) {
                keys.add(key);
            }
        });
        let kind = Kind::new("apps/v1", "Deployment", "deployments");
        let set = Kind::new("apps/v1", "ReplicaSet", "replicasets");
        (
            Self {
                kind,
                set,
                world: world.clone(),
                writer,
            },
            queue,
        )
    }

    async fn own(&self, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, kube::Error> {
        let Some(selector) = &deployment.selector else {
            return Ok(Vec::new());
        };
        let mut own = Vec::new();
        let namespace = deployment.key.namespace.as_deref().unwrap_or_default();
        for set in self.world.replicasets.by(BY_NAMESPACE, namespace) {
            let matches = selector.matches(&set.labels);
            let claim = owner::claim(
                set.owner.as_ref(),
                &deployment.uid,
                matches,
                set.deleting,
                deployment.deleting,
            );
            match claim {
                Claim::Ours => own.push(set),
                Claim::Adopt => {
                    let reference = owner::reference(&self.kind, &deployment.key.name, &deployment.uid);
                    owner::adopt(&self.writer, &self.set, &set.key, &set.uid, reference, None).await?;
                    own.push(set);
                }
                Claim::Release => {
                    owner::release(&self.writer, &self.set, &set.key, &set.uid, &deployment.uid).await?;
                }
                Claim::Leave => {}
            }
        }
        Ok(own)
    }

    fn old_pods_run(&self, sets: &Sets) -> bool {
        let pods = sets.old.iter().flat_map(|set| self.world.pods.by(BY_OWNER, &set.uid));
        pods.into_iter()
            .any(|pod| !matches!(pod.phase, Phase::Succeeded | Phase::Failed))
    }

    /// Does the steps; says which set was created.
    async fn act(&self, deployment: &Deployment, sets: &Sets, steps: &[Step]) -> Result<Option<String>, kube::Error> {
        let mut created = None;
        for step in steps {
            match step {
                Step::Create {
                    hash,
                    replicas,
                    annotations,
                } => {
                    created = self.create(deployment, hash, *replicas, annotations).await?;
                }
                Step::Annotate {
                    set,
                    annotations,
                    min_ready_seconds,
                } => {
                    let body = json!({
                        "metadata": { "annotations": annotations },
                        "spec": { "minReadySeconds": min_ready_seconds },
                    });
                    let key = ObjectKey {
                        namespace: deployment.key.namespace.clone(),
                        name: set.clone(),
                    };
                    self.writer.patch(&self.set, &key, Patch::Merge, &body).await?;
                }
                Step::Scale {
                    set,
                    from,
                    to,
                    annotations,
                } => {
                    self.scale(deployment, sets, set, (*from, *to), annotations).await?;
                }
                Step::Delete { set } => {
                    if let Some(set) = sets.old.iter().find(|old| old.key.name == *set) {
                        self.writer.delete(&self.set, &set.key, &set.uid, json!({})).await?;
                    }
                }
                Step::Revision(revision) => {
                    let body = json!({ "metadata": { "annotations": { template::REVISION: revision } } });
                    self.writer
                        .patch(&self.kind, &deployment.key, Patch::Merge, &body)
                        .await?;
                }
            }
        }
        Ok(created)
    }

    async fn create(
        &self,
        deployment: &Deployment,
        hash: &str,
        replicas: i32,
        annotations: &Labels,
    ) -> Result<Option<String>, kube::Error> {
        let mut template: Value = serde_json::from_str(&deployment.template).map_err(kube::Error::SerdeError)?;
        template["metadata"]["labels"][template::HASH] = hash.into();
        let mut selector = deployment.selector_json.clone();
        selector["matchLabels"][template::HASH] = hash.into();
        let name = format!("{}-{hash}", deployment.key.name);
        let namespace = deployment.key.namespace.as_deref();
        let body = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": namespace, "annotations": annotations,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner::reference(&self.kind, &deployment.key.name, &deployment.uid)],
            },
            "spec": {
                "replicas": replicas, "minReadySeconds": deployment.min_ready_seconds,
                "selector": selector, "template": template,
            },
        });
        match self.writer.create(&self.set, namespace, &body).await {
            Ok(_) => {
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    let about = self.kind.regarding(&deployment.key, &deployment.uid);
                    self.writer.recorder.normal(&about, "ScalingReplicaSet", message);
                }
                Ok(Some(name))
            }
            Err(error) if client::is_exists(&error) => self.collided(deployment, &name).await.map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// The name is taken: by our own set that the watch hasn't shown yet, or by another template with the same hash.
    async fn collided(&self, deployment: &Deployment, name: &str) -> Result<(), kube::Error> {
        let path = format!("{}/{name}", self.set.path(deployment.key.namespace.as_deref()));
        let found = self.writer.get(&path).await?;
        let owners = found["metadata"]["ownerReferences"].as_array();
        let ours = owners
            .into_iter()
            .flatten()
            .any(|owner| owner["uid"] == deployment.uid.as_str());
        let template = template::canonical(&found["spec"]["template"].to_string());
        if ours && template == template::canonical(&deployment.template) {
            return Ok(());
        }
        let body = json!({ "status": { "collisionCount": deployment.status.collisions + 1 } });
        self.writer
            .patch_sub(&self.kind, &deployment.key, "status", Patch::Merge, &body)
            .await
            .map(drop)
    }

    async fn scale(
        &self,
        deployment: &Deployment,
        sets: &Sets,
        name: &str,
        (from, to): (i32, i32),
        annotations: &Labels,
    ) -> Result<(), kube::Error> {
        let Some(set) = sets.all().into_iter().find(|set| set.key.name == name) else {
            return Ok(());
        };
        let body = json!({
            "metadata": { "resourceVersion": set.version, "annotations": annotations },
            "spec": { "replicas": to },
        });
        self.writer.patch(&self.set, &set.key, Patch::Merge, &body).await?;
        if from != to {
            let way = if to > from { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {name} from {from} to {to}");
            let about = self.kind.regarding(&deployment.key, &deployment.uid);
            self.writer.recorder.normal(&about, "ScalingReplicaSet", message);
        }
        Ok(())
    }

    async fn write_status(&self, deployment: &Deployment, status: &DeploymentStatus) -> Result<(), kube::Error> {
        if *status == deployment.status {
            return Ok(());
        }
        let body = json!({ "metadata": { "uid": deployment.uid }, "status": {
            "observedGeneration": status.observed_generation,
            "replicas": count(status.replicas),
            "updatedReplicas": count(status.updated),
            "readyReplicas": count(status.ready),
            "availableReplicas": count(status.available),
            "unavailableReplicas": count(status.unavailable),
            "conditions": conditions::to_json(&status.conditions, true),
        }});
        match self
            .writer
            .patch_sub(&self.kind, &deployment.key, "status", Patch::Merge, &body)
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "deployment"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(deployment) = self.world.deployments.get(key) else {
            return Ok(Next::Change);
        };
        let sets = plan::sort(&deployment, self.own(&deployment).await?);
        let steps = match deployment.deleting {
            true => Vec::new(),
            false => plan::plan(&deployment, &sets, self.old_pods_run(&sets)),
        };
        let done = self.act(&deployment, &sets, &steps).await;
        let created = done.as_ref().ok().and_then(Option::as_deref);
        let moves = !deployment.deleting && !deployment.paused;
        let now = Timestamp::now();
        let status = status::status(&deployment, &sets, created, moves, now);
        self.write_status(&deployment, &status).await?;
        match done {
            // Somebody changed the set meanwhile: its event brings the next run.
            Err(error) if client::is_conflict(&error) || client::is_not_found(&error) => {
                Ok(Next::After(std::time::Duration::from_millis(20)))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(status::deadline(&deployment, &status, now).map_or(Next::Change, Next::After)),
        }
    }
}
