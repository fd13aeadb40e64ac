//! What a deployment needs now: replica sets to create, annotate, scale or delete. Pure.
//!
//! One plan is one step of a rollout; the change that it makes brings the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::status;
use super::template::{self, DESIRED, HISTORY, MAX, REVISION};
use crate::world::{Deployment, Labels, ReplicaSet};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Create the replica set of the current template.
    Create {
        hash: String,
        replicas: i32,
        annotations: Labels,
    },
    /// Change how a set is annotated, and how long its pods must be ready.
    Annotate {
        set: String,
        annotations: Labels,
        min_ready_seconds: i32,
    },
    /// Give a set another size; the annotations say of what whole that is a part.
    Scale {
        set: String,
        from: i32,
        to: i32,
        annotations: Labels,
    },
    Delete {
        set: String,
    },
    /// Note the current revision at the deployment.
    Revision(String),
}

/// The sets of a deployment, by their part.
pub(crate) struct Sets {
    /// The set of the current template.
    pub(crate) new: Option<Arc<ReplicaSet>>,
    /// By age.
    pub(crate) old: Vec<Arc<ReplicaSet>>,
}

/// The bounds of a rolling update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) surge: i32,
    pub(crate) unavailable: i32,
}

/// Plans the next step. `old_pods_run`: pods of older templates are still there, which matters when recreating.
pub(crate) fn plan(deployment: &Deployment, sets: &Sets, old_pods_run: bool) -> Vec<Step> {
    let bounds = bounds(deployment);
    let mut steps = sync_revision(deployment, sets, bounds);
    if deployment.paused || is_scaling(deployment, sets) {
        scale(deployment, sets, bounds, &mut steps);
        if deployment.paused {
            clean_up(deployment, sets, &mut steps);
        }
        return steps;
    }
    if deployment.recreate {
        recreate(deployment, sets, old_pods_run, &mut steps)
    } else {
        roll(deployment, sets, bounds, &mut steps)
    }
    if status::is_complete(deployment, &deployment.status) {
        clean_up(deployment, sets, &mut steps);
    }
    steps
}

/// Finds the set of the current template among the sets that the deployment owns.
pub(crate) fn sort(deployment: &Deployment, mut owned: Vec<Arc<ReplicaSet>>) -> Sets {
    owned.sort_by(|one, other| (one.created, &one.key.name).cmp(&(other.created, &other.key.name)));
    let wanted = template::canonical(&deployment.template);
    let at = owned
        .iter()
        .position(|set| template::canonical(&set.template) == wanted);
    let new = at.map(|at| owned.remove(at));
    Sets { new, old: owned }
}

/// The bounds as numbers. Both being zero would never move: then one may be unavailable.
pub(crate) fn bounds(deployment: &Deployment) -> Bounds {
    if deployment.recreate {
        return Bounds {
            surge: 0,
            unavailable: 0,
        };
    }
    let resolve = |value: &Value, up: bool| {
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        let percent = value
            .as_str()
            .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
        let share = percent.map(|percent| {
            let product = percent * i64::from(deployment.replicas);
            i32::try_from(if up { (product + 99) / 100 } else { product / 100 }).unwrap_or(i32::MAX)
        });
        number.or(share).unwrap_or(0)
    };
    let surge = resolve(&deployment.max_surge, true);
    let unavailable = resolve(&deployment.max_unavailable, false);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds {
        surge,
        unavailable: unavailable.min(deployment.replicas),
    }
}

fn annotations(deployment: &Deployment, bounds: Bounds) -> Labels {
    let max = deployment.replicas.saturating_add(bounds.surge);
    Labels::from([
        (DESIRED.to_owned(), deployment.replicas.to_string()),
        (MAX.to_owned(), max.to_string()),
    ])
}

/// The annotations that the new set should have beyond its sizes: inherited ones, revision, history.
fn sync_revision(deployment: &Deployment, sets: &Sets, _: Bounds) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(new) = &sets.new else { return steps };
    let latest = sets
        .old
        .iter()
        .map(|set| template::revision(&set.annotations))
        .max()
        .unwrap_or(0);
    let mut wanted: Labels = template::inherited(&deployment.annotations)
        .filter(|(key, value)| new.annotations.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let own = template::revision(&new.annotations);
    let mut revision = own;
    if own <= latest {
        revision = latest + 1;
        wanted.insert(REVISION.into(), revision.to_string());
        if own > 0 {
            let history = new.annotations.get(HISTORY).filter(|history| !history.is_empty());
            let history = history.map_or(own.to_string(), |history| format!("{history},{own}"));
            wanted.insert(HISTORY.into(), history);
        }
    }
    if !wanted.is_empty() || new.min_ready_seconds != deployment.min_ready_seconds {
        steps.push(Step::Annotate {
            set: new.key.name.clone(),
            annotations: wanted,
            min_ready_seconds: deployment.min_ready_seconds,
        });
    }
    if template::revision(&deployment.annotations) != revision {
        steps.push(Step::Revision(revision.to_string()));
    }
    steps
}

fn create(deployment: &Deployment, sets: &Sets, replicas: i32, steps: &mut Vec<Step>) {
    let bounds = bounds(deployment);
    let latest = sets
        .old
        .iter()
        .map(|set| template::revision(&set.annotations))
        .max()
        .unwrap_or(0);
    let revision = (latest + 1).to_string();
    let mut notes = annotations(deployment, bounds);
    notes.extend(template::inherited(&deployment.annotations).map(|(key, value)| (key.clone(), value.clone())));
    notes.insert(REVISION.into(), revision.clone());
    let hash = template::hash(&template::canonical(&deployment.template), deployment.status.collisions);
    steps.push(Step::Create {
        hash,
        replicas,
        annotations: notes,
    });
    if deployment.annotations.get(REVISION) != Some(&revision) {
        steps.push(Step::Revision(revision));
    }
}

/// Whether the deployment was given another size since its sets were last scaled.
fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let desired = deployment.replicas.to_string();
    let active = sets.all().into_iter().filter(|set| set.replicas > 0);
    active
        .filter_map(|set| set.annotations.get(DESIRED))
        .any(|known| *known != desired)
}

/// Sizes the sets to the deployment's size without moving the rollout on.
fn scale(deployment: &Deployment, sets: &Sets, bounds: Bounds, steps: &mut Vec<Step>) {
    let all = sets.all();
    let active: Vec<_> = all.iter().filter(|set| set.replicas > 0).copied().collect();
    let single = match active.as_slice() {
        [] => sets.new.as_ref().or(sets.old.last()),
        [only] => Some(*only),
        _ => None,
    };
    let resize = |set: &ReplicaSet, to: i32, steps: &mut Vec<Step>| resize(set, to, deployment, bounds, steps);
    if let Some(set) = single {
        return resize(set, deployment.replicas, steps);
    }
    if sets.new.as_ref().is_some_and(|new| is_saturated(deployment, new)) {
        return sets
            .old
            .iter()
            .filter(|set| set.replicas > 0)
            .for_each(|set| resize(set, 0, steps));
    }
    if deployment.recreate {
        return;
    }
    for (set, size) in shares(deployment, &active, bounds) {
        resize(set, size, steps);
    }
}

fn is_saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let desired = new.annotations.get(DESIRED).and_then(|text| text.parse::<i32>().ok());
    new.replicas == deployment.replicas
        && desired == Some(deployment.replicas)
        && new.status.available == deployment.replicas
}

/// Shares a change of size among the active sets, each by its part of the whole.
fn shares<'a>(
    deployment: &Deployment,
    active: &[&'a Arc<ReplicaSet>],
    bounds: Bounds,
) -> Vec<(&'a Arc<ReplicaSet>, i32)> {
    let total: i32 = active.iter().map(|set| set.replicas).sum();
    let allowed = if deployment.replicas > 0 {
        deployment.replicas + bounds.surge
    } else {
        0
    };
    let change = allowed - total;
    let mut order = active.to_vec();
    // Larger first; among equals the newer one grows and the older one shrinks first.
    order.sort_by(|one, other| {
        let by_age = one.created.cmp(&other.created);
        other
            .replicas
            .cmp(&one.replicas)
            .then(if change > 0 { by_age.reverse() } else { by_age })
    });
    let mut done = 0;
    let mut sizes: Vec<(&Arc<ReplicaSet>, i32)> = Vec::new();
    for set in order {
        let mut part = 0;
        if change != 0 && set.replicas != 0 && done != change {
            let known = set
                .annotations
                .get(MAX)
                .and_then(|text| text.parse::<i32>().ok())
                .filter(|max| *max > 0);
            let whole = known.unwrap_or(deployment.status.replicas).max(1);
            let target = (f64::from(set.replicas) * f64::from(allowed) / f64::from(whole)).round() as i32;
            let wanted = target - set.replicas;
            let left = change - done;
            part = if change > 0 { wanted.min(left) } else { wanted.max(left) };
        }
        done += part;
        sizes.push((set, set.replicas + part));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size = (*size + change - done).max(0);
    }
    sizes
}

fn resize(set: &ReplicaSet, to: i32, deployment: &Deployment, bounds: Bounds, steps: &mut Vec<Step>) {
    let annotations = annotations(deployment, bounds);
    let noted = annotations
        .iter()
        .all(|(key, value)| set.annotations.get(key) == Some(value));
    if set.replicas != to || !noted {
        steps.push(Step::Scale {
            set: set.key.name.clone(),
            from: set.replicas,
            to,
            annotations,
        });
    }
}

fn roll(deployment: &Deployment, sets: &Sets, bounds: Bounds, steps: &mut Vec<Step>) {
    let total: i32 = sets.all().iter().map(|set| set.replicas).sum();
    let room = (deployment.replicas + bounds.surge - total).max(0);
    let Some(new) = &sets.new else {
        return create(deployment, sets, room.min(deployment.replicas), steps);
    };
    let grown = match new.replicas {
        size if size >= deployment.replicas => deployment.replicas,
        size => size + room.min(deployment.replicas - size),
    };
    if grown != new.replicas {
        return resize(new, grown, deployment, bounds, steps);
    }
    shrink_old(deployment, new, sets, bounds, steps);
}

/// Takes old pods away: first those that are not available anyway, then as many as may be missing.
fn shrink_old(deployment: &Deployment, new: &ReplicaSet, sets: &Sets, bounds: Bounds, steps: &mut Vec<Step>) {
    let mut sizes: BTreeMap<&str, i32> = sets
        .old
        .iter()
        .map(|set| (set.key.name.as_str(), set.replicas))
        .collect();
    let old: i32 = sizes.values().sum();
    let least = deployment.replicas - bounds.unavailable;
    let may_go = old + new.replicas - least - (new.replicas - new.status.available);
    if old == 0 || may_go <= 0 {
        return;
    }
    let mut unhealthy = 0;
    for set in sets.old.iter().filter(|set| set.replicas > set.status.available) {
        let part = (may_go - unhealthy).min(set.replicas - set.status.available).max(0);
        unhealthy += part;
        *sizes.entry(&set.key.name).or_insert(0) -= part;
    }
    let available: i32 = sets.all().iter().map(|set| set.status.available).sum();
    let mut surplus = available - least;
    for set in &sets.old {
        let size = sizes.entry(&set.key.name).or_insert(0);
        let part = surplus.min(*size).max(0);
        surplus -= part;
        *size -= part;
    }
    for set in &sets.old {
        let size = sizes.get(set.key.name.as_str()).copied().unwrap_or(0);
        if size != set.replicas {
            resize(set, size, deployment, bounds, steps);
        }
    }
}

fn recreate(deployment: &Deployment, sets: &Sets, old_pods_run: bool, steps: &mut Vec<Step>) {
    let bounds = bounds(deployment);
    let mut active = sets.old.iter().filter(|set| set.replicas > 0).peekable();
    if active.peek().is_some() {
        return active.for_each(|set| resize(set, 0, deployment, bounds, steps));
    }
    if old_pods_run {
        return;
    }
    match &sets.new {
        Some(new) if new.replicas != deployment.replicas => {
            resize(new, deployment.replicas, deployment, bounds, steps);
        }
        Some(_) => {}
        None => create(deployment, sets, deployment.replicas, steps),
    }
}

/// Deletes the oldest empty sets beyond the history that is kept.
fn clean_up(deployment: &Deployment, sets: &Sets, steps: &mut Vec<Step>) {
    let mut kept: Vec<_> = sets.old.iter().filter(|set| !set.deleting).collect();
    let limit = usize::try_from(deployment.history_limit).unwrap_or(0);
    let surplus = kept.len().saturating_sub(limit);
    kept.sort_by_key(|set| (template::revision(&set.annotations), set.created));
    for set in kept.into_iter().take(surplus) {
        let empty = set.replicas == 0 && set.status.replicas == 0;
        if empty && set.generation <= set.status.observed_generation {
            steps.push(Step::Delete {
                set: set.key.name.clone(),
            });
        }
    }
}

// === impl Sets ===

impl Sets {
    pub(crate) fn all(&self) -> Vec<&Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new).collect()
    }
}
