//! What the requests and limits of a pod as a whole must be like.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::resources;
use crate::rules::view::View as _;

use super::container;

/// Checks `spec.resources`: few resources are known there, and the pod can't ask for less than its containers do.
pub(super) fn check(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let whole = spec.at("resources");
    if whole.is_null() {
        return;
    }
    if !whole.list("claims").is_empty() {
        errors.forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level");
    }
    container::requirements_named(whole, at, resource_name, errors);
    let requests = at.child("requests");
    for (name, value) in whole.map("requests").into_iter().flatten() {
        let (Some(given), Some(sum)) = (resources::parse(value), resources::sum_of_requests(spec, name)) else {
            continue;
        };
        if sum > given {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&requests.key(name), value.clone(), &detail);
        }
    }
    let containers = at.child("containers");
    for (index, container) in spec.list("containers").iter().enumerate() {
        for (name, value) in container.at("resources").map("limits").into_iter().flatten() {
            let limit = resources::quantity(whole.at("limits"), name);
            if let (Some(own), Some(limit)) = (resources::parse(value), limit)
                && own > limit
            {
                let shown = resources::shown(whole.at("limits"), name);
                let detail = format!("must be less than or equal to pod limits of {shown}");
                errors.invalid(
                    &containers.index(index).key(name).child("limits"),
                    value.clone(),
                    &detail,
                );
            }
        }
    }
}

fn resource_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.0.len();
    container::any_resource_name(name, at, errors);
    if errors.0.len() == before && !matches!(name, "cpu" | "memory") && !name.starts_with("hugepages-") {
        errors.not_supported(at, name, &["cpu", "hugepages-", "memory"]);
    }
}
