//! A write that changes nothing but the time in managedFields is no write.

use serde_json::{Map, Value};

use super::managed;
use crate::merge::typed::same;

/// Gives `new` the managedFields of `old` when both objects and all owners are the same and only the times of the owners
/// differ. To be called with the object in its final form, before a new resourceVersion is thought of.
pub fn keep_times(old: &Value, new: &mut Value) {
    let (Some(Value::Array(before)), Some(Value::Array(after))) = (managed::of(old), managed::of(new)) else {
        return;
    };
    let differs_in_time = before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .any(|(before, after)| before.get("time") != after.get("time"));
    if differs_in_time
        && before
            .iter()
            .zip(after)
            .all(|(before, after)| same_but(before, after, &["time"]))
        && same_object(old, new)
    {
        managed::put(new, Some(Value::Array(before.clone())));
    }
}

/// Whether two objects are the same apart from managedFields and resourceVersion.
fn same_object(old: &Value, new: &Value) -> bool {
    let metadata = |object: &Value| object.get("metadata").cloned().unwrap_or_default();
    same_but(old, new, &["metadata"]) && same_but(&metadata(old), &metadata(new), &["managedFields", "resourceVersion"])
}

fn same_but(left: &Value, right: &Value, except: &[&str]) -> bool {
    let (Value::Object(left), Value::Object(right)) = (left, right) else {
        return left == right;
    };
    let rest = |map: &Map<String, Value>| map.keys().filter(|name| !except.contains(&name.as_str())).count();
    rest(left) == rest(right)
        && left
            .iter()
            .filter(|(name, _)| !except.contains(&name.as_str()))
            .all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
}
