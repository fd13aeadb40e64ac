//! Takes out of a custom object what its schema doesn't know, telling what it was, and fills in what it defaults.

use serde_json::{Map, Value};

use super::structural::Node;

/// The fields that every whole object has.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes unknown fields; answers their paths, sorted.
pub(crate) fn prune(object: &mut Value, root: &Node) -> Vec<String> {
    let mut pruner = Pruner {
        path: Vec::new(),
        unknown: Vec::new(),
    };
    pruner.value(object, Some(root), true);
    pruner.unknown.sort();
    pruner.unknown
}

struct Pruner {
    path: Vec<String>,
    unknown: Vec<String>,
}

impl Pruner {
    fn value(&mut self, value: &mut Value, node: Option<&Node>, is_root: bool) {
        match value {
            Value::Object(map) => self.object(map, node, is_root),
            Value::Array(items) => {
                let preserving = node.is_some_and(|node| node.preserve_unknown);
                let element = node.and_then(|node| node.items.as_deref());
                for (index, item) in items.iter_mut().enumerate() {
                    if preserving && element.is_none() {
                        continue;
                    }
                    self.path.push(format!("[{index}]"));
                    self.value(item, element, false);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, node: Option<&Node>, is_root: bool) {
        let Some(node) = node else {
            for (name, _) in std::mem::take(map) {
                self.report(&name);
            }
            return;
        };
        let whole = is_root || node.embedded;
        let mut unknown = Vec::new();
        for (name, value) in map.iter_mut() {
            if whole && META.contains(&name.as_str()) {
                continue;
            }
            let child = match (node.properties.get(name), &node.additional) {
                (Some(child), _) => Some(child),
                (None, Some(additional)) => additional.of.as_deref(),
                (None, None) => {
                    if !node.preserve_unknown {
                        unknown.push(name.clone());
                    }
                    continue;
                }
            };
            if child.is_none() && node.preserve_unknown {
                continue;
            }
            self.path.push(name.clone());
            self.value(value, child, false);
            self.path.pop();
        }
        for name in unknown {
            map.remove(&name);
            self.report(&name);
        }
    }

    fn report(&mut self, name: &str) {
        let mut path = String::new();
        for part in self.path.iter().map(String::as_str).chain([name]) {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        self.unknown.push(path);
    }
}

/// Fills in what is absent, or null where null isn't allowed.
pub(crate) fn default(value: &mut Value, node: &Node) {
    match value {
        Value::Object(map) => {
            for (name, child) in &node.properties {
                let Some(default) = &child.default else { continue };
                if map.get(name).is_none_or(|value| value.is_null() && !child.nullable) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(child) = node.field(name) {
                    replace_null(value, child);
                    self::default(value, child);
                }
            }
        }
        Value::Array(items) => {
            let Some(element) = &node.items else { return };
            for item in items {
                replace_null(item, element);
                default(item, element);
            }
        }
        _ => {}
    }
}

fn replace_null(value: &mut Value, node: &Node) {
    if value.is_null()
        && !node.nullable
        && let Some(default) = &node.default
    {
        *value = default.clone();
    }
}

/// Removes nulls that neither are allowed nor have a default in their place.
pub(crate) fn drop_nulls(value: &mut Value, node: &Node) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| match node.field(name) {
                Some(child) => {
                    drop_nulls(value, child);
                    !value.is_null() || child.nullable
                }
                None => true,
            });
        }
        Value::Array(items) => {
            if let Some(element) = &node.items {
                items.iter_mut().for_each(|item| drop_nulls(item, element));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> Node {
        Node::read(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "default": 1},
                "names": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"strict": {"type": "object"}}},
                "maybe": {"type": "string", "nullable": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            }},
        }}))
    }

    #[test]
    fn unknown_fields_go_and_are_told() {
        let mut object = json!({"metadata": {"name": "x"}, "kind": "K", "extra": 1, "spec": {"size": 2, "other": {},
            "names": [{"a": "b", "c": 1}], "free": {"x": {"y": 1}, "strict": {"z": 1}}, "labels": {"q": "r"}}});
        assert_eq!(
            prune(&mut object, &node()),
            ["extra", "spec.free.strict.z", "spec.names[0].c", "spec.other"]
        );
        assert_eq!(
            object,
            json!({"metadata": {"name": "x"}, "kind": "K", "spec": {"size": 2, "names": [{"a": "b"}],
                "free": {"x": {"y": 1}, "strict": {}}, "labels": {"q": "r"}}})
        );
    }

    #[test]
    fn defaults_fill_absence_and_forbidden_nulls() {
        let mut object = json!({"spec": {"size": null, "maybe": null, "names": null}});
        default(&mut object, &node());
        drop_nulls(&mut object, &node());
        assert_eq!(object, json!({"spec": {"size": 1, "maybe": null}}));
        let mut object = json!({});
        default(&mut object, &node());
        assert_eq!(object, json!({}), "a struct without default isn't made");
    }
}
