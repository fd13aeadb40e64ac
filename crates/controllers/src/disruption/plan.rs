//! How many of the pods that a budget covers may be disrupted now. Pure.
//!
//! The rules are those of Kubernetes' disruption controller: a budget by percentage, or by how many may be unavailable,
//! counts the pods that the pods' owners want; one by a number of available pods counts the pods that there are.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::world::{Amount, Budget, BudgetStatus, Condition, Pod};

/// How long an eviction that was allowed is waited for. A pod that is still there after it was not evicted after all.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(120);

/// How many pods the owners of the covered pods want together; or why that can't be told.
pub(super) type Scale = Result<i32, String>;

/// The status that the budget should have, and after what time it changes without any event.
pub(super) fn status(
    budget: &Budget,
    pods: &[&Pod],
    scale: &Scale,
    now: Timestamp,
) -> (BudgetStatus, Option<Duration>) {
    let (disrupted, wait) = disrupted(&budget.status.disrupted, pods, now);
    let healthy = pods
        .iter()
        .filter(|pod| !pod.deleting && pod.ready.is_some() && !disrupted.contains_key(&pod.key.name))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let mut status = match expected(budget, pods.len(), scale) {
        Ok((expected, desired)) => {
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            BudgetStatus {
                allowed,
                healthy,
                desired,
                expected,
                condition: Some(condition(allowed, now)),
                ..BudgetStatus::default()
            }
        }
        // Nothing may be evicted while it isn't known how many there should be; the other numbers stay as they were.
        Err(why) => BudgetStatus {
            allowed: 0,
            condition: Some(Condition::new("DisruptionAllowed", false, "SyncFailed", why, now)),
            ..budget.status.clone()
        },
    };
    status.observed_generation = budget.generation;
    status.disrupted = disrupted;
    keep_time(&mut status.condition, budget.status.condition.as_ref());
    (status, wait)
}

/// Whether the owners' scales must be known for this budget.
pub(super) fn needs_scale(budget: &Budget) -> bool {
    budget.max_unavailable.is_some() || matches!(budget.min_available, Some(Amount::Percent(_)))
}

/// How many pods there should be, and how many must be healthy.
fn expected(budget: &Budget, pods: usize, scale: &Scale) -> Result<(i32, i32), String> {
    let pods = i32::try_from(pods).unwrap_or(i32::MAX);
    match (budget.max_unavailable, budget.min_available) {
        (Some(most), _) => {
            let expected = scale.clone()?;
            Ok((expected, (expected - most.of(expected)).max(0)))
        }
        (None, Some(Amount::Number(least))) => Ok((pods, least)),
        (None, Some(least)) => {
            let expected = scale.clone()?;
            Ok((expected, least.of(expected)))
        }
        (None, None) => Ok((0, 0)),
    }
}

/// The evictions that are still under way, and when the first of them is given up.
fn disrupted(
    known: &BTreeMap<String, Timestamp>,
    pods: &[&Pod],
    now: Timestamp,
) -> (BTreeMap<String, Timestamp>, Option<Duration>) {
    let age = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let under_way = |name: &str, since: Timestamp| {
        let pod = pods.iter().find(|pod| pod.key.name == name);
        pod.is_some_and(|pod| !pod.deleting) && age(since) < EVICTION_TIMEOUT
    };
    let left: BTreeMap<String, Timestamp> = known
        .iter()
        .filter(|(name, since)| under_way(name, **since))
        .map(|(name, since)| (name.clone(), *since))
        .collect();
    let wait = left
        .values()
        .map(|since| EVICTION_TIMEOUT.saturating_sub(age(*since)))
        .min();
    (left, wait)
}

fn condition(allowed: i32, now: Timestamp) -> Condition {
    if allowed > 0 {
        Condition::new("DisruptionAllowed", true, "SufficientPods", "", now)
    } else {
        Condition::new("DisruptionAllowed", false, "InsufficientPods", "", now)
    }
}

/// A condition whose status didn't change keeps the time of its last change.
fn keep_time(condition: &mut Option<Condition>, before: Option<&Condition>) {
    if let (Some(condition), Some(before)) = (condition, before)
        && condition.status == before.status
    {
        condition.changed = before.changed;
        condition.updated = before.updated;
    }
}
