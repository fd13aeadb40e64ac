//! Keeps the status of disruption budgets: how many of the covered pods may be evicted now. The API's eviction
//! subresource spends from it.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use client::ObjectKey;
use http::Method;
use jiff::Timestamp;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::discover;
use crate::owner::Owner;
use crate::world::{BUDGETS_BY_NAMESPACE, BY_NAMESPACE, Budget, BudgetStatus, Pod, World};
use crate::write::{Kind, Writer};

use self::plan::Scale;

/// The disruption controller; keys are budgets.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    kind: Kind,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let keys = queue.clone();
        world.budgets.subscribe(move |change| keys.add(change.key.clone()));
        let (keys, budgets) = (queue.clone(), world.budgets.clone());
        world.pods.subscribe(move |change| {
            for budget in budgets.by(
                BUDGETS_BY_NAMESPACE,
                change.key.namespace.as_deref().unwrap_or_default(),
            ) {
                let pods = [&change.before, &change.after];
                if pods.into_iter().flatten().any(|pod| covers(&budget, pod)) {
                    keys.add(budget.key.clone());
                }
            }
        });
        // A scale counts before its pods are there.
        let (keys, budgets) = (queue.clone(), world.budgets.clone());
        let of_namespace = move |key: &ObjectKey| {
            for budget in budgets.by(BUDGETS_BY_NAMESPACE, key.namespace.as_deref().unwrap_or_default()) {
                keys.add(budget.key.clone());
            }
        };
        let note = of_namespace.clone();
        world.deployments.subscribe(move |change| {
            if scaled(
                change.before.as_deref().map(|one| one.replicas),
                change.after.as_deref().map(|one| one.replicas),
            ) {
                note(&change.key);
            }
        });
        for sets in [&world.replicasets, &world.replicationcontrollers] {
            let note = of_namespace.clone();
            sets.subscribe(move |change| {
                if scaled(
                    change.before.as_deref().map(|one| one.replicas),
                    change.after.as_deref().map(|one| one.replicas),
                ) {
                    note(&change.key);
                }
            });
        }
        let kind = Kind::new("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets");
        (
            Self {
                world: world.clone(),
                writer,
                kind,
            },
            queue,
        )
    }

    /// How many pods the owners of these want together.
    async fn scale(&self, pods: &[Arc<Pod>]) -> Scale {
        let mut scales = BTreeMap::new();
        for pod in pods {
            // Pods without an owner don't count; a budget over such pods alone allows nothing.
            let Some(owner) = &pod.owner else { continue };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            let namespace = pod.key.namespace.as_deref().unwrap_or_default();
            let (uid, replicas) = self
                .scale_of(namespace, owner)
                .await
                .ok_or_else(|| format!("found no controllers for pod {:?}", pod.key.name))?;
            scales.insert(uid, replicas);
            scales.entry(owner.uid.clone()).or_insert(0);
        }
        Ok(scales.values().sum())
    }

    /// The uid of what really decides on the number of pods, and the number that it wants.
    async fn scale_of(&self, namespace: &str, owner: &Owner) -> Option<(String, i32)> {
        let key = ObjectKey::namespaced(namespace, &owner.name);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.world.replicasets.get(&key).filter(|set| set.uid == owner.uid)?;
                match &set.owner {
                    Some(above) if above.kind == "Deployment" => {
                        let key = ObjectKey::namespaced(namespace, &above.name);
                        let deployment = self
                            .world
                            .deployments
                            .get(&key)
                            .filter(|found| found.uid == above.uid)?;
                        Some((deployment.uid.clone(), deployment.replicas))
                    }
                    _ => Some((set.uid.clone(), set.replicas)),
                }
            }
            "ReplicationController" => {
                let set = self.world.replicationcontrollers.get(&key)?;
                (set.uid == owner.uid).then(|| (set.uid.clone(), set.replicas))
            }
            _ => self.asked_scale(namespace, owner).await,
        }
    }

    /// The scale subresource of any other owner, if it has one.
    async fn asked_scale(&self, namespace: &str, owner: &Owner) -> Option<(String, i32)> {
        let resource = discover::resource(&self.writer, &owner.api_version, &owner.kind)
            .await
            .ok()??;
        let path = format!("{}/{}/scale", resource.kind.path(Some(namespace)), owner.name);
        let scale = self.writer.get(&path).await.ok()?;
        let replicas = i32::try_from(scale["spec"]["replicas"].as_i64().unwrap_or(0)).ok()?;
        (scale["metadata"]["uid"] == owner.uid.as_str()).then(|| (owner.uid.clone(), replicas))
    }

    /// Replaces the status, if the budget is still as it was seen: evictions write there too.
    async fn write(&self, budget: &Budget, status: &BudgetStatus) -> Result<(), kube::Error> {
        let namespace = budget.key.namespace.as_deref();
        let path = format!("{}/{}", self.kind.path(namespace), budget.key.name);
        let mut object = match self.writer.get(&path).await {
            Ok(object) => object,
            Err(error) if client::is_not_found(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        if object["metadata"]["resourceVersion"] != budget.status.version.as_str() {
            // What was planned with is old; its change brings the key again.
            return Ok(());
        }
        merge(&mut object["status"], status);
        let path = format!("{path}/status");
        match self.writer.send(Method::PUT, &path, "application/json", &object).await {
            Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "disruption"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(budget) = self.world.budgets.get(key) else {
            return Ok(Next::Change);
        };
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let mut pods = self.world.pods.by(BY_NAMESPACE, namespace);
        pods.retain(|pod| covers(&budget, pod));
        let about = self.kind.regarding(key, &budget.uid);
        let scale = match plan::needs_scale(&budget) {
            true => self.scale(&pods).await,
            false => Ok(0),
        };
        let covered: Vec<&Pod> = pods.iter().map(Arc::as_ref).collect();
        let (status, wait) = plan::status(&budget, &covered, &scale, Timestamp::now());
        if let Err(why) = &scale {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            self.writer
                .recorder
                .warning(&about, "CalculateExpectedPodCountFailed", message);
        }
        if !status.same(&budget.status) {
            // Kubernetes tells it at each pass and lets its recorder thin that out; who describes the budget sees as much.
            if pods.is_empty() {
                self.writer.recorder.normal(&about, "NoPods", "No matching pods found");
            }
            self.write(&budget, &status).await?;
        }
        Ok(wait.map_or(Next::Change, Next::After))
    }
}

fn covers(budget: &Budget, pod: &Pod) -> bool {
    let selector = budget.selector.as_ref();
    selector.is_some_and(|selector| selector.matches(&pod.labels))
}

fn scaled(before: Option<i32>, after: Option<i32>) -> bool {
    before != after
}

/// Writes the numbers into a status that may hold more than we know of.
fn merge(object: &mut Value, status: &BudgetStatus) {
    object["disruptionsAllowed"] = status.allowed.into();
    object["currentHealthy"] = status.healthy.into();
    object["desiredHealthy"] = status.desired.into();
    object["expectedPods"] = status.expected.into();
    object["observedGeneration"] = status.observed_generation.into();
    let disrupted = status.disrupted.iter();
    let disrupted: serde_json::Map<String, Value> = disrupted
        .map(|(name, since)| (name.clone(), meta::time::format_seconds(*since).into()))
        .collect();
    object["disruptedPods"] = match disrupted.is_empty() {
        true => Value::Null,
        false => disrupted.into(),
    };
    let Some(condition) = &status.condition else { return };
    let written = json!({
        "type": condition.kind,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.changed.map(meta::time::format_seconds),
        "observedGeneration": status.observed_generation,
    });
    if !object["conditions"].is_array() {
        object["conditions"] = json!([]);
    }
    if let Some(conditions) = object["conditions"].as_array_mut() {
        conditions.retain(|known| known["type"] != condition.kind.as_str());
        conditions.push(written);
    }
}
