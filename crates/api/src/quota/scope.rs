//! The scopes of a quota: which of the objects it is about.

use serde_json::Value;

use crate::rules::view::View as _;

/// Whether every scope of a quota holds by `is_in(scope, operator, values)`.
pub(super) fn all_hold(quota: &Value, is_in: impl Fn(&str, &str, &[Value]) -> bool) -> bool {
    let spec = quota.at("spec");
    let plain = spec.list("scopes").iter().filter_map(Value::as_str);
    let expressions = spec.at("scopeSelector").list("matchExpressions").iter();
    plain.into_iter().all(|scope| is_in(scope, "Exists", &[]))
        && expressions
            .into_iter()
            .all(|one| is_in(one.text("scopeName"), one.text("operator"), one.list("values")))
}

/// Whether one of these names is selected; no name, or an empty one, is an absent label.
pub(super) fn selects(operator: &str, values: &[Value], names: &[&str]) -> bool {
    let names: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
    let listed = |name: &&str| values.iter().any(|value| value.as_str() == Some(name));
    match operator {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(listed),
        "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
        _ => false,
    }
}
