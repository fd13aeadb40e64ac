//! The keys and values in a patch that are instructions and no data.

use serde_json::{Map, Value};

/// The key of an object's directive.
pub(super) const PATCH: &str = "$patch";
/// The key of the list of fields that stay.
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
/// The beginning of the key that says in which order a list's items are.
pub(super) const ORDER: &str = "$setElementOrder";
/// The beginning of the key that says what is taken out of a list of scalars.
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList";

/// Whether an object in a patch only says that its twin be deleted.
pub(super) fn is_delete(item: &Map<String, Value>) -> bool {
    item.get(PATCH).is_some_and(|directive| directive == "delete")
}

/// Takes everything that isn't data out of a value that goes into the object as it is. `None` when the value itself is
/// a directive.
pub(super) fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(without_directives).collect())),
        scalar => Some(scalar.clone()),
    }
}

/// The value without null fields, at any depth.
pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}
