//! EventRateLimit: so many events a second, of the whole server, by namespace, by user, or by source and object.

use std::collections::HashMap;
use std::time::Instant;

use async_trait::async_trait;
use meta::Status;
use parking_lot::Mutex;
use serde_json::Value;

use super::{EventLimit, EventLimitBy, Operation, Plugin, Review};
use crate::object::text;

pub(crate) struct EventRateLimit {
    limits: Vec<Limit>,
}

struct Limit {
    settings: EventLimit,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl EventRateLimit {
    pub(crate) fn new(limits: &[EventLimit]) -> EventRateLimit {
        let limit = |settings: &EventLimit| Limit {
            settings: *settings,
            buckets: Mutex::default(),
        };
        EventRateLimit {
            limits: limits.iter().map(limit).collect(),
        }
    }
}

#[async_trait]
impl Plugin for EventRateLimit {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation != Operation::Delete && review.kind.resource.resource == "events" && !review.is_dry_run()
    }

    async fn validate(&self, review: &Review<'_>, event: Option<&Value>) -> Result<(), Status> {
        let mut reached = Vec::new();
        for limit in &self.limits {
            let by = limit.settings.by;
            let key = match by {
                EventLimitBy::Server => String::new(),
                EventLimitBy::Namespace => review.namespace.to_owned(),
                EventLimitBy::User => review.user.name.clone(),
                EventLimitBy::SourceAndObject => event.map(source_and_object).unwrap_or_default(),
            };
            if !limit.take(&key, Instant::now()) {
                reached.push(format!("limit reached on type {by:?} for key {key}"));
            }
        }
        match reached.as_slice() {
            [] => Ok(()),
            [one] => Err(Status::too_many_requests(one.clone(), 1)),
            more => Err(Status::too_many_requests(format!("[{}]", more.join(", ")), 1)),
        }
    }
}

fn source_and_object(event: &Value) -> String {
    let source = ["component", "host"]
        .iter()
        .map(|field| text(event, &["source", field]));
    let fields = ["kind", "namespace", "name", "uid", "apiVersion"].iter();
    // The newer form has other names for the same.
    let object = match event.get("involvedObject") {
        Some(_) => "involvedObject",
        None => "regarding",
    };
    source
        .chain(fields.map(|field| text(event, &[object, field])))
        .collect()
}

impl Limit {
    /// Takes one from the bucket of this key; false when it is empty.
    fn take(&self, key: &str, now: Instant) -> bool {
        let (burst, rate) = (f64::from(self.settings.burst), f64::from(self.settings.per_second));
        let mut buckets = self.buckets.lock();
        if !buckets.contains_key(key) && buckets.len() >= self.settings.cache {
            // The bucket that was left alone for the longest is the fullest.
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                buckets.remove(&oldest);
            }
        }
        let full = Bucket { tokens: burst, at: now };
        let bucket = buckets.entry(key.to_owned()).or_insert(full);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * rate).min(burst);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let all = EventRateLimit::new(&[EventLimit {
            by: EventLimitBy::Namespace,
            per_second: 2,
            burst: 3,
            cache: 2,
        }]);
        let (limit, start) = (&all.limits[0], Instant::now());
        let taken = |key: &str, after: u64| limit.take(key, start + Duration::from_millis(after));
        assert_eq!([0; 4].map(|after| taken("a", after)), [true, true, true, false]);
        assert!(taken("b", 0), "another one's bucket");
        assert!(taken("a", 500), "half a second brings one");
        assert!(!taken("a", 500));
        assert!(taken("c", 600), "b's is forgotten for it");
        assert_eq!(limit.buckets.lock().len(), 2);
    }
}
