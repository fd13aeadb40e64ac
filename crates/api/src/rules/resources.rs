//! Resource lists: reading quantities, rounding them as Kubernetes does, copying what is missing.

use meta::Quantity;
use serde_json::Value;

use super::view::{Edit as _, View as _};

/// The quantity in a list, `None` when it is absent or unreadable.
pub(crate) fn quantity(list: &Value, name: &str) -> Option<Quantity> {
    parse(list.at(name))
}

/// A quantity in a tree.
pub(crate) fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Rounds every quantity of a list up to thousandths, the finest that is stored.
pub(crate) fn round(list: Option<&mut Value>) {
    let Some(Value::Object(list)) = list else { return };
    for value in list.values_mut() {
        let finer = value
            .as_str()
            .is_some_and(|text| text.ends_with(['n', 'u']) || text.contains('.'));
        if !finer {
            continue;
        }
        let Some(quantity) = parse(value) else { continue };
        let rounded = Quantity::from_millis(quantity.millis()).with_format(quantity.format());
        *value = if rounded == quantity { quantity } else { rounded }.to_string().into();
    }
}

/// Rounds the limits and requests below `resources`.
pub(crate) fn round_resources(owner: &mut Value) {
    if let Some(resources) = owner.there("resources") {
        round(resources.there("limits"));
        round(resources.there("requests"));
    }
}

/// Gives `resources.requests` every limit that it doesn't have an entry for.
pub(crate) fn request_what_is_limited(container: &mut Value) {
    let Some(resources) = container.there("resources") else {
        return;
    };
    let Some(limits) = resources.map("limits").cloned() else {
        return;
    };
    copy_missing(resources.object("requests"), limits);
}

/// Copies the entries that `to` doesn't have.
pub(crate) fn copy_missing(to: &mut Value, from: serde_json::Map<String, Value>) {
    if let Value::Object(to) = to {
        for (name, value) in from {
            to.entry(name).or_insert(value);
        }
    }
}

/// What the containers of a pod request together: all main ones and sidecars, or the greediest init container with the
/// sidecars before it. `None` when nobody asks.
pub(crate) fn sum_of_requests(spec: &Value, name: &str) -> Option<Quantity> {
    let request = |container: &Value| quantity(container.at("resources").at("requests"), name);
    let (mut sidecars, mut peak, mut any) = (Quantity::ZERO, Quantity::ZERO, false);
    for container in spec.list("initContainers") {
        let Some(amount) = request(container) else { continue };
        any = true;
        if container.text("restartPolicy") == "Always" {
            sidecars += amount;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + amount);
        }
    }
    let mut main = sidecars;
    for amount in spec.list("containers").iter().filter_map(request) {
        any = true;
        main = if main.is_zero() { amount } else { main + amount };
    }
    any.then_some(main.max(peak))
}

/// The text of a quantity, `0` when absent.
pub(crate) fn shown(list: &Value, name: &str) -> String {
    match list.at(name) {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rounds_up_to_thousandths() {
        let mut list = json!({"cpu": "100u", "memory": "1Gi", "b": "1.5"});
        round(Some(&mut list));
        assert_eq!(list, json!({"cpu": "1m", "memory": "1Gi", "b": "1500m"}));
    }

    #[test]
    fn limits_become_requests() {
        let mut container = json!({"resources": {"limits": {"cpu": "1", "memory": "2"}, "requests": {"cpu": "0"}}});
        request_what_is_limited(&mut container);
        assert_eq!(container["resources"]["requests"], json!({"cpu": "0", "memory": "2"}));
    }
}
