//! The quality of service class of a pod, from its requests and limits.

use meta::Quantity;
use serde_json::Value;

use crate::rules::resources::quantity;
use crate::rules::view::View as _;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` when every container limits cpu and memory to what it requests, `BestEffort` when none asks for
/// anything, else `Burstable`. Requests and limits of the pod itself come before those of its containers.
pub(crate) fn class(pod: &Value) -> &'static str {
    let spec = pod.at("spec");
    if spec.at("resources").has("requests") || spec.at("resources").has("limits") {
        return of_all(std::iter::once(spec));
    }
    of_all(spec.list("containers").iter().chain(spec.list("initContainers")))
}

fn of_all<'a>(owners: impl Iterator<Item = &'a Value>) -> &'static str {
    let mut guaranteed = true;
    let (mut requests, mut limits) = ([Quantity::ZERO; 2], [Quantity::ZERO; 2]);
    for owner in owners {
        let resources = owner.at("resources");
        for (index, name) in COUNTED.into_iter().enumerate() {
            if let Some(amount) = quantity(resources.at("requests"), name).filter(|amount| !amount.is_zero()) {
                requests[index] += amount;
            }
            match quantity(resources.at("limits"), name).filter(|amount| !amount.is_zero()) {
                Some(amount) => limits[index] += amount,
                None => guaranteed = false,
            }
        }
    }
    let any = requests.iter().chain(&limits).any(|amount| !amount.is_zero());
    if !any {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let check = |resources: Value, expected: &str| {
            assert_eq!(
                class(&json!({"spec": {"containers": [{"resources": resources}]}})),
                expected,
                "{resources}"
            );
        };
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        check(json!({"requests": both, "limits": both}), "Guaranteed");
        check(
            json!({"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": both}),
            "Guaranteed",
        );
        check(json!({"requests": {"cpu": "1"}, "limits": both}), "Burstable");
    }
}
