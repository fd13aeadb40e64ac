//! Events have two forms that share their storage: `v1` (the stored one) and `events.k8s.io/v1`. The fields are the same
//! under other names.

use serde_json::{Map, Value};

/// The names in `events.k8s.io/v1` and in `v1`.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// An event of `events.k8s.io/v1` in the form of `v1`.
#[must_use]
pub fn core_event(event: Value) -> Value {
    rename(event, "v1", |(new, core)| (new, core))
}

/// An event of `v1` in the form of `events.k8s.io/v1`.
#[must_use]
pub fn new_event(event: Value) -> Value {
    rename(event, "events.k8s.io/v1", |(new, core)| (core, new))
}

fn rename(
    event: Value,
    api_version: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Value::Object(mut event) = event else { return event };
    let mut renamed = Map::new();
    for pair in NAMES {
        let (from, to) = direction(pair);
        if let Some(value) = event.remove(from) {
            renamed.insert(to.to_owned(), value);
        }
    }
    event.extend(renamed);
    if event.contains_key("apiVersion") {
        event.insert("apiVersion".to_owned(), api_version.into());
    }
    Value::Object(event)
}
