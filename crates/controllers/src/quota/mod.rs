//! Keeps the status of quotas: takes limits over, and counts anew what is used when objects go or use less.
//!
//! What is used more is charged by the API itself, in the transaction that writes the object. So a count that was made
//! after the quota was read is never too low, provided that the quota is still at that version when it is written;
//! otherwise it is made again.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use api::quota::{Amounts, Evaluator, overdue_at};
use client::{Change, Informer, ObjectKey};
use hashbrown::{HashMap, HashSet};
use http::Method;
use jiff::Timestamp;
use parking_lot::Mutex;
use reconcile::{Next, Queue, Reconciler};
use serde_json::Value;

use crate::discover;
use crate::gc::{Listener, Row};
use crate::world::{QUOTAS_BY_NAMESPACE, Quota, World};
use crate::write::{Kind, Writer};

/// How many objects are read at a time.
const PAGE: usize = 500;

/// The quota controller; keys are quotas.
pub(crate) struct Controller {
    quotas: Informer<Quota>,
    writer: Writer,
    kind: Kind,
    known: Arc<Mutex<Known>>,
    /// Those whose last count came too late: they are counted again with the version that was faster.
    late: Arc<Mutex<HashSet<ObjectKey>>>,
}

/// Where resources are, as far as it was asked.
#[derive(Default)]
struct Known {
    /// None for those that the API doesn't have.
    kinds: HashMap<(String, String), Option<Kind>>,
    /// How often it was forgotten: an answer that was asked for before that is no longer to be kept.
    forgotten: u64,
}

impl Known {
    fn forget(&mut self) {
        self.kinds.clear();
        self.forgotten += 1;
    }
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let late = Arc::<Mutex<HashSet<ObjectKey>>>::default();
        let (keys, missed) = (queue.clone(), late.clone());
        world.quotas.subscribe(move |change| {
            let Some(quota) = &change.after else { return };
            let is_late = missed.lock().remove(&change.key);
            if is_late || change.before.is_none() || plan::is_behind(&quota.object) {
                keys.add(change.key.clone());
            }
        });
        let (keys, quotas) = (queue.clone(), world.quotas.clone());
        world.pods.subscribe(move |change| {
            if let (Some(before), Some(after)) = (&change.before, &change.after)
                && before.counted != after.counted
            {
                enqueue(&quotas, &keys, &change.key, "", "pods");
            }
        });
        let controller = Self {
            quotas: world.quotas.clone(),
            writer,
            kind: Kind::new("v1", "ResourceQuota", "resourcequotas"),
            known: Arc::default(),
            late,
        };
        (controller, queue)
    }

    /// What hears of objects that go.
    pub(crate) fn replenishing(&self, queue: &Queue<ObjectKey>) -> Replenishing {
        Replenishing {
            quotas: self.quotas.clone(),
            queue: queue.clone(),
            known: self.known.clone(),
        }
    }

    /// What the objects of one resource use of a quota; none when the API has no such resource.
    async fn count(&self, quota: &Quota, group: &str, plural: &str) -> Result<Option<Counted>, kube::Error> {
        let Some(evaluator) = Evaluator::of(group, plural) else {
            return Ok(None);
        };
        let Some(kind) = self.place(group, plural).await? else {
            return Ok(None);
        };
        let hard = plan::wanted(&quota.object);
        let mut counted = Counted::default();
        for name in hard.names().filter(|name| evaluator.counts(name)) {
            counted.used.set(name, meta::Quantity::ZERO);
        }
        let mut token = String::new();
        loop {
            let limit = if evaluator.looks_at_objects() { PAGE } else { 1 };
            let path = kind.path(quota.key.namespace.as_deref());
            let list = match self.writer.get(&format!("{path}?limit={limit}{token}")).await {
                Ok(list) => list,
                Err(error) if client::is_not_found(&error) => {
                    self.known.lock().forget();
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            for item in items.iter().filter(|item| evaluator.covers(&quota.object, &hard, item)) {
                counted.add(&evaluator, item);
            }
            let left = list["metadata"]["remainingItemCount"].as_i64().unwrap_or(0);
            if !evaluator.looks_at_objects() && left > 0 && !counted.used_none() {
                counted.times(left + 1);
                break;
            }
            match list["metadata"]["continue"].as_str().filter(|text| !text.is_empty()) {
                Some(next) => token = format!("&continue={next}"),
                None => break,
            }
        }
        counted.used = counted.used.only(&|name| hard.get(name).is_some());
        Ok(Some(counted))
    }

    /// Where a resource is.
    async fn place(&self, group: &str, plural: &str) -> Result<Option<Kind>, kube::Error> {
        let name = (group.to_owned(), plural.to_owned());
        let asked = {
            let known = self.known.lock();
            if let Some(kind) = known.kinds.get(&name) {
                return Ok(kind.clone());
            }
            known.forgotten
        };
        let found = discover::resources(&self.writer).await?;
        if let Some((_, error)) = found
            .silent
            .into_iter()
            .find(|(version, _)| version.split('/').next() == Some(group))
        {
            return Err(error);
        }
        let is_it = |kind: &Kind| kind.plural == plural && group_of(kind) == group;
        let found = found
            .resources
            .into_iter()
            .find(|resource| resource.namespaced && is_it(&resource.kind));
        let found = found.map(|resource| resource.kind);
        let mut known = self.known.lock();
        if known.forgotten == asked {
            known.kinds.insert(name, found.clone());
        }
        Ok(found)
    }

    /// Replaces the status, if the quota is still as it was read; says whether it is to be counted anew.
    async fn write(&self, quota: &Quota, status: Value) -> Result<bool, kube::Error> {
        let mut object = quota.object.clone();
        object["status"] = status;
        let namespace = quota.key.namespace.as_deref();
        let path = format!("{}/{}/status", self.kind.path(namespace), quota.key.name);
        match self.writer.send(Method::PUT, &path, "application/json", &object).await {
            Err(error) if client::is_conflict(&error) => {
                self.late.lock().insert(quota.key.clone());
                // Its change may have been seen before it was noted as late.
                let seen = self.quotas.get(&quota.key);
                let moved = seen.is_some_and(|seen| seen.version != quota.version);
                Ok(moved && self.late.lock().remove(&quota.key))
            }
            Err(error) if client::is_not_found(&error) => Ok(false),
            other => other.map(|_| false),
        }
    }
}

/// Has quotas counted anew when objects of any kind give back what they used.
pub(crate) struct Replenishing {
    quotas: Informer<Quota>,
    queue: Queue<ObjectKey>,
    known: Arc<Mutex<Known>>,
}

impl Listener for Replenishing {
    /// An object that is gone gives back what it used, and some may use less after a change.
    fn changed(&self, change: &Change<Row>) {
        let Some(row) = change.before.as_ref().or(change.after.as_ref()) else {
            return;
        };
        let (group, plural) = (group_of(&row.kind), row.kind.plural.as_str());
        if plural == "customresourcedefinitions" {
            self.known.lock().forget();
            let waiting = self.quotas.list();
            let waiting = waiting.iter().filter(|quota| plan::is_behind(&quota.object));
            waiting.for_each(|quota| self.queue.add(quota.key.clone()));
            return;
        }
        let measured = matches!(plural, "services" | "persistentvolumeclaims" | "resourceclaims");
        if change.after.is_none() || measured && change.before.is_some() {
            enqueue(&self.quotas, &self.queue, &change.key, group, plural);
        }
    }

    fn watched(&self, kind: &Kind) {
        let Some(evaluator) = Evaluator::of(group_of(kind), &kind.plural) else {
            return;
        };
        self.known.lock().forget();
        let all = self.quotas.list();
        let concerned = all.iter().filter(|quota| plan::is_about(&quota.object, &evaluator));
        concerned.for_each(|quota| self.queue.add(quota.key.clone()));
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "resource-quota"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(quota) = self.quotas.get(key) else {
            return Ok(Next::Change);
        };
        let mut all = Counted::default();
        for (group, plural) in plan::resources(&plan::wanted(&quota.object)) {
            if let Some(counted) = self.count(&quota, &group, &plural).await? {
                all.used.add(&counted.used);
                all.overdue = all.overdue.into_iter().chain(counted.overdue).min();
            }
        }
        if let Some(status) = plan::status(&quota.object, &all.used)
            && self.write(&quota, status).await?
        {
            return Ok(Next::After(Duration::ZERO));
        }
        let left = all.overdue.map(|end| end.duration_since(Timestamp::now()));
        let left = left.and_then(|left| Duration::try_from(left).ok());
        // A moment later, for it must be over.
        Ok(left.map_or(Next::Change, |left| Next::After(left + Duration::from_secs(1))))
    }
}

/// What was counted of one resource.
#[derive(Default)]
struct Counted {
    used: Amounts,
    /// When the next pod stops counting without a change.
    overdue: Option<Timestamp>,
}

impl Counted {
    fn add(&mut self, evaluator: &Evaluator, object: &Value) {
        let now = Timestamp::now();
        self.used.add(&evaluator.usage(object, now));
        if *evaluator == Evaluator::Pods {
            let end = overdue_at(object).filter(|end| *end >= now);
            self.overdue = self.overdue.into_iter().chain(end).min();
        }
    }

    fn used_none(&self) -> bool {
        self.used.iter().all(|(_, amount)| amount.is_zero())
    }

    fn times(&mut self, factor: i64) {
        let all: Vec<(String, meta::Quantity)> = self.used.iter().map(|(name, one)| (name.to_owned(), one)).collect();
        for (name, amount) in all {
            self.used.set(name, amount.times(factor));
        }
    }
}

fn enqueue(quotas: &Informer<Quota>, keys: &Queue<ObjectKey>, object: &ObjectKey, group: &str, plural: &str) {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let concerned = quotas.by(QUOTAS_BY_NAMESPACE, namespace);
    if concerned.is_empty() {
        return;
    }
    let Some(evaluator) = Evaluator::of(group, plural) else {
        return;
    };
    for quota in concerned
        .iter()
        .filter(|quota| plan::is_about(&quota.object, &evaluator))
    {
        keys.add(quota.key.clone());
    }
}

fn group_of(kind: &Kind) -> &str {
    kind.api_version.split_once('/').map_or("", |(group, _)| group)
}
