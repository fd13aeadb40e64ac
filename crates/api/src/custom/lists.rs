//! What holds in custom objects beside types: the elements of sets and keyed lists are unique, and objects inside of
//! objects have kind, version and good metadata.

use std::collections::HashMap;

use meta::FieldError;
use serde_json::{Map, Value};

use super::structural::Node;
use crate::rules::check::Errors;
use crate::rules::metadata;
use crate::rules::view::View as _;
use crate::schema::ListType;

/// Elements that occur twice where they may not.
pub(crate) fn duplicates(node: &Node, value: &Value, at: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(node, value, at, &mut |node, value, at| {
        if let Value::Array(items) = value {
            errors.extend(match node.list_type {
                ListType::Atomic => Vec::new(),
                ListType::Set => twice(items.to_vec(), at),
                ListType::Map => twice_by_key(node, items, at),
            });
        }
    });
    errors
}

fn twice(keys: Vec<Value>, at: &str) -> Vec<FieldError> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut errors = Vec::new();
    for (index, key) in keys.into_iter().enumerate() {
        let times = seen.entry(key.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(FieldError::duplicate(format!("{at}[{index}]"), key));
        }
    }
    errors
}

fn twice_by_key(node: &Node, items: &[Value], at: &str) -> Vec<FieldError> {
    if let Some((index, item)) = items
        .iter()
        .enumerate()
        .find(|(_, item)| !item.is_object() && !item.is_null())
    {
        let why = "must be an object for an array of list-type map";
        return vec![FieldError::invalid(format!("{at}[{index}]"), item.clone(), why)];
    }
    let key_of = |item: &Value| {
        let entries = node.list_keys.iter().filter_map(|key| {
            let value = item.get(key)?;
            Some((key.clone(), value.clone()))
        });
        Value::Object(entries.collect::<Map<_, _>>())
    };
    twice(items.iter().map(key_of).collect(), at)
}

/// What is wrong with objects inside of the object.
pub(crate) fn embedded(node: &Node, value: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    walk(node, value, "", &mut |node, value, at| {
        if node.embedded && value.is_object() {
            embedded_object(value, at, &mut errors);
        }
    });
    errors.0
}

fn embedded_object(object: &Value, at: &str, errors: &mut Errors) {
    let at = meta::Path::new(at);
    for name in ["apiVersion", "kind"] {
        let at = at.child(name);
        match object.get(name) {
            None => errors.required(&at, ""),
            Some(Value::String(text)) if text.is_empty() => errors.invalid(&at, "", "must not be empty"),
            Some(Value::String(text)) if name == "kind" => {
                let why = meta::names::dns1035_label(&text.to_lowercase()).join(",");
                if !why.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {why}");
                    errors.invalid(&at, text.as_str(), &why);
                }
            }
            Some(Value::String(text)) => {
                if text.matches('/').count() > 1 {
                    errors.invalid(&at, text.as_str(), &format!("unexpected GroupVersion string: {text}"));
                }
            }
            Some(other) => errors.invalid(&at, other.clone(), "must be a string"),
        }
    }
    if let Some(metadata) = object.get("metadata").filter(|metadata| metadata.is_object()) {
        let mut metadata = metadata.clone();
        if metadata.lacks("name") {
            metadata["name"] = "fakename".into();
        }
        let namespaced = !metadata.lacks("namespace");
        let at = at.child("metadata");
        metadata::plain_template(&metadata, namespaced, metadata::segment, &at, errors);
    }
}

/// Visits every value with what the schema says of it.
fn walk(node: &Node, value: &Value, at: &str, visit: &mut impl FnMut(&Node, &Value, &str)) {
    if !at.is_empty() {
        visit(node, value, at);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let below = match (node.properties.get(name), at) {
                    (Some(_), "") => name.clone(),
                    (Some(_), at) => format!("{at}.{name}"),
                    (None, at) => format!("{at}[{name}]"),
                };
                if let Some(child) = node.field(name) {
                    walk(child, value, &below, visit);
                }
            }
        }
        Value::Array(items) => {
            if let Some(element) = &node.items {
                for (index, item) in items.iter().enumerate() {
                    walk(element, item, &format!("{at}[{index}]"), visit);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn twice_is_told_once() {
        let node = Node::read(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}}}));
        let object = json!({"set": ["x", "x", "x"], "map": [{"a": "1", "b": 2}, {"a": "1"}, {"b": 2, "a": "1"}]});
        let told: Vec<String> = duplicates(&node, &object, "").iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "map[2]: Duplicate value: {\"a\":\"1\",\"b\":2}",
                "set[1]: Duplicate value: \"x\""
            ]
        );
    }

    #[test]
    fn an_object_inside_of_an_object_is_whole() {
        let node = Node::read(&json!({"type": "object", "properties": {"in": {"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}));
        let told: Vec<String> = embedded(&node, &json!({"in": {"kind": "Pod", "metadata": {"name": "a/b"}}}))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "in.apiVersion: Required value",
                "in.metadata.name: Invalid value: \"a/b\": may not contain '/'"
            ]
        );
    }
}
