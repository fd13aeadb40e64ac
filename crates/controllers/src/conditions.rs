//! Conditions as they are written. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::world::Condition;

/// The list as JSON, or null when it is empty; `updates` for kinds that also say when a condition was last looked at.
pub(crate) fn to_json(conditions: &[Condition], updates: bool) -> Value {
    if conditions.is_empty() {
        return Value::Null;
    }
    conditions.iter().map(|condition| one(condition, updates)).collect()
}

/// A patch of a pod's status that says why it is about to be deleted, so that its owner can tell that from a failure of
/// its own; it fails when the pod is another one by now.
pub(crate) fn disruption(uid: &str, reason: &str, message: &str) -> Value {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": meta::time::now(),
    });
    json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } })
}

fn one(condition: &Condition, updates: bool) -> Value {
    let time = |time: Option<Timestamp>| time.map(meta::time::format_seconds);
    let mut value = json!({
        "type": condition.kind,
        "status": condition.status,
        "lastTransitionTime": time(condition.changed),
        "reason": condition.reason,
        "message": condition.message,
    });
    if updates {
        value["lastUpdateTime"] = time(condition.updated).into();
    }
    value
}
