//! JSON patch (RFC 6902) as Kubernetes applies it, which is looser than the RFC in ways that clients rely on: negative
//! indices count from the end, `replace` of a missing key adds it, `test` for null passes where nothing is.

use serde_json::{Map, Value};

use super::Problem;

/// How many operations one patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// How many bytes the `copy` operations of one patch may add in all.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// A patched object, and what strict field validation says of the patch itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// The object after the patch.
    pub value: Value,
    /// Fields of operations that don't exist. An error when field validation is strict, a warning by default.
    pub strict: Vec<String>,
}

/// Applies a JSON patch.
pub fn json_patch(current: &Value, patch: &Value) -> Result<Patched, Problem> {
    let operations = operations(patch)?;
    let mut value = current.clone();
    let mut copied = 0;
    for operation in &operations {
        run(&mut value, operation, &mut copied).map_err(Problem::unprocessable)?;
    }
    Ok(Patched {
        value,
        strict: unknown_fields(&operations),
    })
}

fn operations(patch: &Value) -> Result<Vec<&Map<String, Value>>, Problem> {
    let mismatch = |value: &Value, target: &str| {
        let kind = super::go_text::json_kind(value);
        Problem::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {kind} into Go value of type {target}"
        ))
    };
    let list = match patch {
        Value::Array(list) => list,
        Value::Null => return Ok(Vec::new()),
        other => return Err(mismatch(other, "[]handlers.jsonPatchOp")),
    };
    let operations = list
        .iter()
        .map(|item| item.as_object().ok_or_else(|| mismatch(item, "handlers.jsonPatchOp")))
        .collect::<Result<Vec<_>, _>>()?;
    if operations.len() > MAX_OPERATIONS {
        return Err(Problem::TooManyOperations {
            allowed: MAX_OPERATIONS,
            got: operations.len(),
        });
    }
    Ok(operations)
}

fn unknown_fields(operations: &[&Map<String, Value>]) -> Vec<String> {
    let known = ["op", "path", "from", "value"];
    operations
        .iter()
        .enumerate()
        .flat_map(|(index, operation)| operation.keys().map(move |key| (index, key)))
        .filter(|(_, key)| !known.contains(&key.as_str()))
        .map(|(index, key)| format!("json patch unknown field \"[{index}].{key}\""))
        .collect()
}

fn run(document: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Result<(), String> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let path = text("path").ok_or("operation missing path field: missing value");
    let from = text("from").ok_or("operation, missing from field: missing value");
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op").unwrap_or("unknown") {
        "add" => place(document, path?)?.add(value()),
        "remove" => place(document, path?)?.remove().map(drop),
        "replace" => replace(document, path?, value()),
        "test" => test(document, path?, operation.get("value")),
        "move" => {
            let value = place(document, from?)?.remove()?;
            place(document, path?)?.add(value)
        }
        "copy" => {
            let value = place(document, from?)?.get()?.cloned().unwrap_or(Value::Null);
            *copied += value.to_string().len();
            if *copied > MAX_COPIED_BYTES {
                return Err(format!(
                    "unable to complete the copy, the accumulated size increase of copy is {copied}"
                ));
            }
            place(document, path?)?.add(value)
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation value must be object or array".into());
        }
        *document = value;
        return Ok(());
    }
    let place = place(document, path)?;
    place
        .get()
        .map_err(|_| format!("replace operation does not apply: doc is missing key: {path}"))?;
    place.set(value)
}

fn test(document: &mut Value, path: &str, expected: Option<&Value>) -> Result<(), String> {
    let expected = expected.filter(|value| !value.is_null());
    let found = if path.is_empty() {
        Some(&*document)
    } else {
        place(document, path)?.into_value()?
    };
    if found.filter(|value| !value.is_null()) == expected {
        return Ok(());
    }
    Err(format!("testing value {path} failed: test failed"))
}

/// A place in a document that an operation works on: a key of an object or an index of a list.
struct Place<'a> {
    container: &'a mut Value,
    key: String,
}

/// Finds the container that the path's last step is in.
fn place<'a>(document: &'a mut Value, path: &str) -> Result<Place<'a>, String> {
    let missing = || format!("doc is missing path: {path:?}: missing value");
    let mut steps = path
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .peekable();
    let mut container = document;
    loop {
        let key = steps.next().ok_or_else(missing)?;
        if steps.peek().is_none() {
            if !container.is_object() && !container.is_array() {
                return Err(missing());
            }
            return Ok(Place { container, key });
        }
        container = Place { container, key }.into_mut().ok_or_else(missing)?;
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    fn get(&self) -> Result<Option<&Value>, String> {
        match &*self.container {
            Value::Object(map) => Ok(map.get(&self.key)),
            Value::Array(list) => index(&self.key, list.len()).map(|index| list.get(index)),
            _ => Err("not a container".into()),
        }
    }

    fn into_value(self) -> Result<Option<&'a Value>, String> {
        match self.container {
            Value::Object(map) => Ok(map.get(&self.key)),
            Value::Array(list) => index(&self.key, list.len()).map(|index| list.get(index)),
            _ => Err("not a container".into()),
        }
    }

    fn into_mut(self) -> Option<&'a mut Value> {
        match self.container {
            Value::Object(map) => map.get_mut(&self.key),
            Value::Array(list) => index(&self.key, list.len()).ok().and_then(|index| list.get_mut(index)),
            _ => None,
        }
    }

    fn set(self, value: Value) -> Result<(), String> {
        match self.container {
            Value::Object(map) => _ = map.insert(self.key, value),
            Value::Array(list) => {
                let index = index(&self.key, list.len())?;
                list[index] = value;
            }
            _ => return Err("not a container".into()),
        }
        Ok(())
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self.container {
            Value::Array(list) if self.key == "-" => list.push(value),
            Value::Array(list) => {
                // One more place than there are items: an item can be added behind the last.
                let index = index(&self.key, list.len() + 1)?;
                list.insert(index, value);
            }
            Value::Object(map) => _ = map.insert(self.key, value),
            _ => return Err("not a container".into()),
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self.container {
            Value::Object(map) => map
                .remove(&self.key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {}", self.key)),
            Value::Array(list) => {
                let index = index(&self.key, list.len())?;
                Ok(list.remove(index))
            }
            _ => Err("not a container".into()),
        }
    }
}

/// The index that a key means in a list of this length; negative ones count from the end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let index: i64 = key
        .parse()
        .map_err(|_| format!("value was not a proper array index: '{key}'"))?;
    let counted = if index < 0 {
        index.checked_add_unsigned(length as u64)
    } else {
        Some(index)
    };
    counted
        .and_then(|index| usize::try_from(index).ok())
        .filter(|index| *index < length)
        .ok_or_else(|| format!("Unable to access invalid index: {index}: invalid index referenced"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(current: Value, patch: Value) -> Result<Value, Problem> {
        json_patch(&current, &patch).map(|patched| patched.value)
    }

    #[test]
    fn the_six_operations() {
        let current = json!({"a": {"b": [1, 2, 3]}, "c": "x"});
        let patch = json!([
            {"op": "test", "path": "/c", "value": "x"},
            {"op": "add", "path": "/a/b/1", "value": 9},
            {"op": "add", "path": "/a/b/-", "value": 4},
            {"op": "remove", "path": "/a/b/0"},
            {"op": "replace", "path": "/c", "value": {"d": 1}},
            {"op": "copy", "from": "/c/d", "path": "/e~1f"},
            {"op": "move", "from": "/c", "path": "/g"},
        ]);
        assert_eq!(
            patched(current, patch),
            Ok(json!({"a": {"b": [9, 2, 3, 4]}, "e/f": 1, "g": {"d": 1}}))
        );
    }

    #[test]
    fn kubernetes_is_looser_than_the_rfc() {
        let patch = json!([
            {"op": "replace", "path": "/new", "value": 1},
            {"op": "remove", "path": "/list/-1"},
            {"op": "test", "path": "/absent", "value": null},
            {"op": "add", "path": "/nothing"},
        ]);
        let expected = json!({"list": [1], "new": 1, "nothing": null});
        assert_eq!(patched(json!({"list": [1, 2]}), patch), Ok(expected));
    }

    #[test]
    fn what_does_not_apply_is_unprocessable() {
        for operation in [
            json!({"op": "test", "path": "/a", "value": 2}),
            json!({"op": "remove", "path": "/b"}),
            json!({"op": "add", "path": "/x/y", "value": 1}),
            json!({"op": "add", "path": "", "value": {}}),
            json!({"op": "replace", "path": "/l/7", "value": 1}),
            json!({"op": "what", "path": "/a"}),
            json!({"path": "/a"}),
        ] {
            let result = patched(json!({"a": 1, "l": []}), json!([operation]));
            assert!(matches!(result, Err(Problem::Unprocessable { .. })), "{result:?}");
        }
    }

    #[test]
    fn a_patch_that_is_no_list_or_too_long_is_refused() {
        let text = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
        assert_eq!(patched(json!({}), json!({})), Err(Problem::BadRequest(text.into())));
        let operation = json!({"op": "test", "path": "/a", "value": null});
        let long = Value::Array(vec![operation; MAX_OPERATIONS + 1]);
        assert_eq!(
            patched(json!({}), long),
            Err(Problem::TooManyOperations {
                allowed: MAX_OPERATIONS,
                got: MAX_OPERATIONS + 1
            })
        );
    }

    #[test]
    fn unknown_fields_of_operations_are_told() {
        let patch = json!([{"op": "test", "path": "/a", "vaule": 1}]);
        let patched = json_patch(&json!({}), &patch).expect("applies");
        assert_eq!(patched.strict, ["json patch unknown field \"[0].vaule\""]);
    }
}
