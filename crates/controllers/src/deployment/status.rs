//! The status of a deployment and its conditions, as `kubectl rollout status` reads them. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::plan::{Sets, bounds};
use crate::world::{Condition, Deployment, DeploymentStatus};

/// The status by what the sets report; `created` is the name of the set that this run made.
pub(crate) fn status(
    deployment: &Deployment,
    sets: &Sets,
    created: Option<&str>,
    moves: bool,
    now: Timestamp,
) -> DeploymentStatus {
    let all = sets.all();
    let sum = |count: &dyn Fn(&crate::world::ReplicaSetStatus) -> i32| all.iter().map(|set| count(&set.status)).sum();
    let wanted: i32 = all.iter().map(|set| set.replicas).sum();
    let available: i32 = sum(&|status| status.available);
    let mut status = DeploymentStatus {
        observed_generation: deployment.generation,
        replicas: sum(&|status| status.replicas),
        updated: sets.new.as_ref().map_or(0, |set| set.status.replicas),
        ready: sum(&|status| status.ready),
        available,
        unavailable: (wanted - available).max(0),
        collisions: deployment.status.collisions,
        conditions: deployment.status.conditions.clone(),
    };
    let least = deployment.replicas - bounds(deployment).unavailable;
    put(
        &mut status.conditions,
        match available >= least {
            true => Condition::new(
                "Available",
                true,
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
                now,
            ),
            false => Condition::new(
                "Available",
                false,
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
                now,
            ),
        },
    );
    if deployment.progress_deadline.is_none() {
        status.conditions.retain(|condition| condition.kind != "Progressing");
    } else {
        found(deployment, sets, created, &mut status.conditions, now);
        paused(deployment, &mut status.conditions, now);
        if moves {
            progress(deployment, sets, &mut status, now);
        }
    }
    let failure = sets
        .new
        .iter()
        .chain(&sets.old)
        .find_map(|set| Condition::find(&set.status.conditions, "ReplicaFailure"));
    match failure.filter(|_| moves) {
        Some(failure) => {
            let message = failure.message.as_str();
            put(
                &mut status.conditions,
                Condition::new("ReplicaFailure", true, &failure.reason, message, now),
            );
        }
        None => status.conditions.retain(|condition| condition.kind != "ReplicaFailure"),
    }
    status
}

/// All pods are of the current template and available, and no other is left.
pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    status.updated == deployment.replicas
        && status.replicas == deployment.replicas
        && status.available == deployment.replicas
        && status.observed_generation >= deployment.generation
}

/// When the progress deadline is to be looked at again.
pub(crate) fn deadline(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let seconds = i64::from(deployment.progress_deadline.filter(|_| !deployment.paused)?);
    let condition = Condition::find(&status.conditions, "Progressing")?;
    if is_complete(deployment, status) || matches!(condition.reason.as_str(), "ProgressDeadlineExceeded") {
        return None;
    }
    let left = condition.updated?.as_second() + seconds - now.as_second();
    Some(Duration::from_secs(u64::try_from(left + 1).unwrap_or(0).max(1)))
}

fn found(deployment: &Deployment, sets: &Sets, created: Option<&str>, conditions: &mut Vec<Condition>, now: Timestamp) {
    if let Some(name) = created {
        let message = format!("Created new replica set {name:?}");
        return put(
            conditions,
            Condition::new("Progressing", true, "NewReplicaSetCreated", message, now),
        );
    }
    if let Some(new) = &sets.new
        && Condition::find(&deployment.status.conditions, "Progressing").is_none()
    {
        let message = format!("Found new replica set {:?}", new.key.name);
        put(
            conditions,
            Condition::new("Progressing", true, "FoundNewReplicaSet", message, now),
        );
    }
}

fn paused(deployment: &Deployment, conditions: &mut Vec<Condition>, now: Timestamp) {
    let reason = Condition::find(conditions, "Progressing")
        .map(|known| known.reason.clone())
        .unwrap_or_default();
    let (reason, message) = match (deployment.paused, reason.as_str()) {
        (_, "ProgressDeadlineExceeded") | (true, "DeploymentPaused") => return,
        (true, _) => ("DeploymentPaused", "Deployment is paused"),
        (false, "DeploymentPaused") => ("DeploymentResumed", "Deployment is resumed"),
        (false, _) => return,
    };
    let condition = Condition {
        status: "Unknown".into(),
        ..Condition::new("Progressing", true, reason, message, now)
    };
    put(conditions, condition);
}

fn progress(deployment: &Deployment, sets: &Sets, status: &mut DeploymentStatus, now: Timestamp) {
    let current = Condition::find(&status.conditions, "Progressing").cloned();
    let settled = current
        .as_ref()
        .is_some_and(|known| known.reason == "NewReplicaSetAvailable");
    if settled && status.replicas == status.updated {
        return;
    }
    let subject = match &sets.new {
        Some(new) => format!("ReplicaSet {:?}", new.key.name),
        None => format!("Deployment {:?}", deployment.key.name),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        put(
            &mut status.conditions,
            Condition::new("Progressing", true, "NewReplicaSetAvailable", message, now),
        );
    } else if has_progressed(&deployment.status, status) {
        let message = format!("{subject} is progressing.");
        let mut condition = Condition::new("Progressing", true, "ReplicaSetUpdated", message, now);
        if let Some(known) = current.filter(Condition::is_true) {
            condition.changed = known.changed;
        }
        // Put even when the reason is the same: its update time is what the deadline counts from.
        status.conditions.retain(|known| known.kind != "Progressing");
        status.conditions.push(condition);
    } else if timed_out(deployment, current.as_ref(), now) {
        let message = format!("{subject} has timed out progressing.");
        put(
            &mut status.conditions,
            Condition::new("Progressing", false, "ProgressDeadlineExceeded", message, now),
        );
    }
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    after.updated > before.updated
        || after.replicas - after.updated < before.replicas - before.updated
        || after.ready > before.ready
        || after.available > before.available
}

fn timed_out(deployment: &Deployment, current: Option<&Condition>, now: Timestamp) -> bool {
    let (Some(condition), Some(seconds)) = (current, deployment.progress_deadline) else {
        return false;
    };
    match condition.reason.as_str() {
        "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => condition
            .updated
            .is_some_and(|from| from.as_second() + i64::from(seconds) < now.as_second()),
    }
}

/// Puts a condition in; one with the same status and reason stays as it is, and the time of its last transition stays
/// as long as its status does.
fn put(conditions: &mut Vec<Condition>, mut condition: Condition) {
    if let Some(known) = Condition::find(conditions, &condition.kind) {
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.changed = known.changed;
        }
    }
    conditions.retain(|known| known.kind != condition.kind);
    conditions.push(condition);
}
