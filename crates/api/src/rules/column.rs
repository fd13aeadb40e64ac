//! How table columns are declared and what many cells are made of: container lists, selectors, `<none>`.

use serde_json::Value;

use super::Column;
use super::view::View as _;

/// A column of text.
pub(crate) const fn text(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

/// A column of text that only `-o wide` shows.
pub(crate) const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 1,
    }
}

/// A column of whole numbers.
pub(crate) const fn integer(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        format: "",
        description,
        priority: 0,
    }
}

/// A column of booleans.
pub(crate) const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "boolean",
        format: "",
        description,
        priority: 0,
    }
}

/// The wide column of container names.
pub(crate) const CONTAINERS: Column = wide("Containers", "The names of the containers in the pod template.");
/// The wide column of images.
pub(crate) const IMAGES: Column = wide("Images", "The images of the containers in the pod template.");
/// The wide column of the label selector.
pub(crate) const SELECTOR: Column = wide("Selector", "The label query that selects the pods.");

/// The object's name.
pub(crate) fn name(object: &Value) -> Value {
    object.at("metadata").text("name").into()
}

/// A number, 0 when absent.
pub(crate) fn number(object: &Value, key: &str) -> Value {
    object.int(key).unwrap_or(0).into()
}

/// The text, or a stand-in when it is empty.
pub(crate) fn or<'a>(text: &'a str, stand_in: &'a str) -> &'a str {
    if text.is_empty() { stand_in } else { text }
}

/// One field of every list element, with commas between.
pub(crate) fn joined(list: &[Value], key: &str) -> String {
    let mut text = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(item.text(key));
    }
    text
}

/// Text elements with a separator between.
pub(crate) fn texts(list: &[Value], separator: &str) -> String {
    list.iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(separator)
}

/// The names and the images of a pod spec's containers.
pub(crate) fn containers(pod_spec: &Value) -> [Value; 2] {
    let list = pod_spec.list("containers");
    [joined(list, "name").into(), joined(list, "image").into()]
}

/// Labels as `a=b,c=d`, `<none>` without any.
pub(crate) fn labels(labels: &Value) -> String {
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

/// A label selector as a query, ordered by key; empty when it selects everything.
pub(crate) fn query(selector: &Value) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for (key, value) in selector.map("matchLabels").into_iter().flatten() {
        parts.push((key, format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        let mut values: Vec<&str> = expression.list("values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push((
            key,
            match expression.text("operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                _ => format!("!{key}"),
            },
        ));
    }
    parts.sort_by_key(|(key, _)| *key);
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// A label selector for a cell: `<none>` when it selects everything or is absent.
pub(crate) fn selector(selector: &Value) -> String {
    let text = query(selector);
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// At most so many of the items, and how many more there are.
pub(crate) fn first_of(items: &[String], most: usize) -> String {
    if items.is_empty() {
        return "<unset>".to_owned();
    }
    if items.len() <= most {
        return items.join(",");
    }
    format!("{} + {} more...", items[..most].join(","), items.len() - most)
}
