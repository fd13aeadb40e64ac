//! JSON merge patch (RFC 7386) as Kubernetes applies it: nulls inside of new values are dropped, in lists too.

use serde_json::{Map, Value};

use super::{Problem, go_text};

/// Applies a JSON merge patch to an object.
pub fn merge_patch(current: &Value, patch: &Value) -> Result<Value, Problem> {
    let mut value = current.clone();
    match (&mut value, patch) {
        (_, Value::Null) => return Err(Problem::BadRequest("Invalid JSON Patch".into())),
        (Value::Object(map), Value::Object(patch)) => merge_maps(map, patch),
        (_, Value::Object(_)) => value = without_nulls(patch),
        (_, other) => {
            let kind = go_text::json_kind(other);
            return Err(Problem::BadRequest(format!(
                "error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )));
        }
    }
    Ok(value)
}

fn merge_maps(map: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match (map.get_mut(name), value) {
            (_, Value::Null) => _ = map.remove(name),
            (Some(Value::Object(current)), Value::Object(patch)) => merge_maps(current, patch),
            // An object that gives way to something else takes that as it is.
            (Some(Value::Object(_)), other) => _ = map.insert(name.clone(), other.clone()),
            (_, other) => _ = map.insert(name.clone(), without_nulls(other)),
        }
    }
}

/// The value without null fields, at any depth. Nulls that are items of lists stay.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_nulls).collect::<Vec<_>>().into(),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_merge_and_nulls_delete() {
        let current = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": "x"});
        let patch = json!({"a": {"b": null, "f": {"g": null, "h": [{"i": null}, null]}}, "d": [2], "z": null});
        let expected = json!({"a": {"c": 2, "f": {"h": [{}, null]}}, "d": [2], "e": "x"});
        assert_eq!(merge_patch(&current, &patch), Ok(expected));
    }

    #[test]
    fn only_objects_are_patches() {
        assert_eq!(
            merge_patch(&json!({}), &json!(null)),
            Err(Problem::BadRequest("Invalid JSON Patch".into()))
        );
        let text = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}";
        assert_eq!(
            merge_patch(&json!({}), &json!([])),
            Err(Problem::BadRequest(text.into()))
        );
    }
}
