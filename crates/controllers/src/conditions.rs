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
