//! Label selectors as objects: whether one is empty, well-formed, and matches some labels. Nothing is allocated.

use serde_json::Value;

use super::view::View as _;

/// Whether it selects everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    selector.map("matchLabels").is_none_or(serde_json::Map::is_empty) && selector.list("matchExpressions").is_empty()
}

/// Whether it can be used for matching at all.
pub(crate) fn is_valid(selector: &Value) -> bool {
    selector.list("matchExpressions").iter().all(|expression| {
        let values = expression.list("values").len();
        match expression.text("operator") {
            "In" | "NotIn" => values > 0,
            "Exists" | "DoesNotExist" => values == 0,
            _ => false,
        }
    })
}

/// Whether it selects an object with these labels.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let pairs = selector.map("matchLabels").into_iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.list("matchExpressions").iter().all(|expression| {
            let value = labels.get(expression.text("key"));
            let among = value.is_some_and(|value| expression.list("values").contains(value));
            match expression.text("operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}
