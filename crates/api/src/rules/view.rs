//! Reading and editing JSON trees the way Go's structs read: what is absent is empty, `null` is absent.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;
static EMPTY: &[Value] = &[];

/// Reading by field name; everything absent is the type's zero value.
pub(crate) trait View {
    /// The field, `Null` when absent.
    fn at(&self, key: &str) -> &Value;
    /// The field as text, empty when absent.
    fn text(&self, key: &str) -> &str;
    /// The field as an integer, `None` when absent.
    fn int(&self, key: &str) -> Option<i64>;
    /// The field as a boolean, `None` when absent.
    fn flag(&self, key: &str) -> Option<bool>;
    /// The field's elements.
    fn list(&self, key: &str) -> &[Value];
    /// The field's entries.
    fn map(&self, key: &str) -> Option<&Map<String, Value>>;

    /// Whether the field is there.
    fn has(&self, key: &str) -> bool {
        !self.at(key).is_null()
    }

    /// Whether the field is there and true.
    fn is(&self, key: &str) -> bool {
        self.flag(key) == Some(true)
    }

    /// Whether the text field is absent or empty.
    fn lacks(&self, key: &str) -> bool {
        self.text(key).is_empty()
    }
}

impl View for Value {
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }

    fn text(&self, key: &str) -> &str {
        self.at(key).as_str().unwrap_or_default()
    }

    fn int(&self, key: &str) -> Option<i64> {
        self.at(key).as_i64()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.at(key).as_bool()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.at(key).as_array().map_or(EMPTY, Vec::as_slice)
    }

    fn map(&self, key: &str) -> Option<&Map<String, Value>> {
        self.at(key).as_object()
    }
}

/// Changing by field name.
pub(crate) trait Edit {
    /// The field as an object, made when it is absent.
    fn object(&mut self, key: &str) -> &mut Value;
    /// The field when it is there and not `null`.
    fn there(&mut self, key: &str) -> Option<&mut Value>;
    /// The field's elements.
    fn each(&mut self, key: &str) -> std::slice::IterMut<'_, Value>;
    /// Sets the field.
    fn set(&mut self, key: &str, value: impl Into<Value>);
    /// Removes the field.
    fn drop(&mut self, key: &str) -> Option<Value>;
    /// Sets the field when it is absent.
    fn or(&mut self, key: &str, value: impl Into<Value>);
    /// Sets the text field when it is absent or empty.
    fn or_text(&mut self, key: &str, value: &str);
    /// Sets the number when it is absent or 0.
    fn or_number(&mut self, key: &str, value: i64);
    /// Makes the field what it is in `from`, absent included.
    fn take_from(&mut self, key: &str, from: &Value);
}

impl Edit for Value {
    fn object(&mut self, key: &str) -> &mut Value {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        match self {
            Value::Object(map) => {
                let slot = map.entry(key).or_insert(Value::Null);
                if slot.is_null() {
                    *slot = Value::Object(Map::new());
                }
                slot
            }
            other => other,
        }
    }

    fn there(&mut self, key: &str) -> Option<&mut Value> {
        self.get_mut(key).filter(|value| !value.is_null())
    }

    fn each(&mut self, key: &str) -> std::slice::IterMut<'_, Value> {
        self.get_mut(key)
            .and_then(Value::as_array_mut)
            .map_or_else(|| [].iter_mut(), |list| list.iter_mut())
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Value::Object(map) = self {
            map.insert(key.to_owned(), value.into());
        }
    }

    fn drop(&mut self, key: &str) -> Option<Value> {
        self.as_object_mut()?.remove(key)
    }

    fn or(&mut self, key: &str, value: impl Into<Value>) {
        if !self.has(key) {
            self.set(key, value);
        }
    }

    fn or_text(&mut self, key: &str, value: &str) {
        if self.lacks(key) {
            self.set(key, value);
        }
    }

    fn or_number(&mut self, key: &str, value: i64) {
        if matches!(self.int(key), None | Some(0)) {
            self.set(key, value);
        }
    }

    fn take_from(&mut self, key: &str, from: &Value) {
        match from.get(key) {
            Some(value) if self.get(key) == Some(value) => {}
            Some(value) => self.set(key, value.clone()),
            None => {
                self.drop(key);
            }
        }
    }
}

/// The value at a dotted path, `Null` when any step is absent.
pub(crate) fn deep<'a>(object: &'a Value, dotted: &str) -> &'a Value {
    dotted.split('.').fold(object, |value, step| value.at(step))
}

/// The text at a dotted path, empty when absent.
pub(crate) fn text_at<'a>(object: &'a Value, dotted: &str) -> &'a str {
    deep(object, dotted).as_str().unwrap_or_default()
}

/// Whether both are the same when what is empty counts as absent, as Go's semantic deep equality has it. Quantities
/// written differently are different here; callers that compare resources normalise them first.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(key, value)| same(value, y.get(key).unwrap_or(&NULL)))
                && y.iter().all(|(key, value)| x.contains_key(key) || is_empty(value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Null, other) | (other, Value::Null) => is_empty(other),
        _ => a == b,
    }
}

/// Whether Go would see the zero value: `null`, an empty text, list or map, `false`, 0, or a struct of such.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sameness_ignores_what_is_empty() {
        assert!(same(&json!({"a": 1, "b": ""}), &json!({"a": 1, "c": []})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 2})));
        assert!(!same(&json!([1]), &json!([])));
    }

    #[test]
    fn absent_reads_as_zero() {
        let object = json!({"a": {"b": null}});
        assert_eq!(text_at(&object, "a.b.c"), "");
        assert!(!object.at("a").has("b"));
    }
}
