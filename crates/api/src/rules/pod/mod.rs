//! Pods, and the pod templates that other kinds carry.

mod cells;
mod defaults;
pub(crate) mod qos;
mod update;
mod validate;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::view::{Edit as _, View as _};
use super::{Column, Rules, metadata, resources, strategy};

pub(crate) use defaults::{VOLUME_DEFAULTS, template as default_template};
pub(crate) use validate::{PodForm, host_path, node_selector, requirements, template, tolerations};

/// The rules of `pods`.
pub(crate) struct Pod;

const SELECTABLE: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        defaults::pod(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
        object.set("status", json!({"phase": "Pending"}));
        if !object.at("spec").list("schedulingGates").is_empty() {
            let gated = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": object.at("metadata").at("creationTimestamp"),
            }]);
            object.object("status").set("conditions", gated);
        }
        // Scheduling by group isn't on.
        object.object("spec").drop("schedulingGroup");
        pod_level_requests(object.object("spec"));
        let class = qos::class(object);
        object.object("status").set("qosClass", class);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
        let spec = object.object("spec");
        if !spec.has("resources") && old.at("spec").has("resources") {
            spec.take_from("resources", old.at("spec"));
        }
        strategy::count_generation(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        let metadata = object.object("metadata");
        metadata.take_from("ownerReferences", old.at("metadata"));
        let (status, before) = (object.object("status"), old.at("status"));
        for name in [
            "qosClass",
            "resourceClaimStatuses",
            "extendedResourceClaimStatus",
            "nodeAllocatableResourceClaimStatuses",
        ] {
            if !status.has(name) {
                status.take_from(name, before);
            }
        }
        keep_observed(status, before);
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        match subresource {
            "ephemeralcontainers" => {
                let added = object.at("spec").at("ephemeralContainers").clone();
                let mut spec = old.at("spec").clone();
                spec.set("ephemeralContainers", added);
                object.set("spec", spec);
                strategy::advance(object, old);
            }
            "resize" => strategy::advance(object, old),
            _ => self.prepare_status(object, old),
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        validate::pod(object, &mut errors);
        let spec = object.at("spec");
        if !spec.list("ephemeralContainers").is_empty() {
            errors.forbidden(&Path::new("spec.ephemeralContainers"), "cannot be set on create");
        }
        if !spec.lacks("nodeName") && !spec.list("schedulingGates").is_empty() {
            errors.forbidden(
                &Path::new("spec.nodeName"),
                "cannot be set until all schedulingGates have been cleared",
            );
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        validate::pod(object, &mut errors);
        update::check(object, old, &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        update::check_status(object, old, &mut errors);
        errors.0
    }

    fn validate_subresource(&self, subresource: &str, object: &Value, old: &Value) -> Vec<FieldError> {
        if subresource == "ephemeralcontainers" {
            let mut errors = Errors::default();
            metadata::update(object, old, &mut errors);
            validate::pod(object, &mut errors);
            update::check_ephemeral(object, old, &mut errors);
            return errors.0;
        }
        if subresource == "resize" {
            let mut errors = Errors::default();
            metadata::update(object, old, &mut errors);
            validate::pod(object, &mut errors);
            update::check_resize(object, old, &mut errors);
            return errors.0;
        }
        self.validate_status(object, old)
    }

    fn selectable(&self) -> &'static [&'static str] {
        SELECTABLE
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let (metadata, spec, status) = (object.at("metadata"), object.at("spec"), object.at("status"));
        let ip = status
            .list("podIPs")
            .first()
            .map_or(status.text("podIP"), |entry| entry.text("ip"));
        vec![
            (SELECTABLE[0], metadata.text("name").to_owned()),
            (SELECTABLE[1], metadata.text("namespace").to_owned()),
            (SELECTABLE[2], spec.text("nodeName").to_owned()),
            (SELECTABLE[3], spec.text("restartPolicy").to_owned()),
            (SELECTABLE[4], spec.text("schedulerName").to_owned()),
            (SELECTABLE[5], spec.text("serviceAccountName").to_owned()),
            (SELECTABLE[6], spec.is("hostNetwork").to_string()),
            (SELECTABLE[7], status.text("phase").to_owned()),
            (SELECTABLE[8], ip.to_owned()),
            (SELECTABLE[9], status.text("nominatedNodeName").to_owned()),
        ]
    }

    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        let spec = object.at("spec");
        let period = requested.or(spec.int("terminationGracePeriodSeconds")).unwrap_or(0);
        let ended = matches!(object.at("status").text("phase"), "Failed" | "Succeeded");
        if spec.lacks("nodeName") || ended {
            return Some(0);
        }
        Some(if period < 0 { 1 } else { period })
    }

    fn columns(&self) -> &'static [Column] {
        cells::COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells::row(object, now)
    }
}

/// Requests of the pod as a whole that weren't given: the sum of its containers', else the pod's own limit.
fn pod_level_requests(spec: &mut Value) {
    let given = spec.at("resources");
    let any = |name: &str| given.map(name).is_some_and(|list| !list.is_empty());
    if !any("requests") && !any("limits") {
        return;
    }
    let mut sums = Vec::new();
    for name in ["cpu", "memory"] {
        if !given.at("requests").has(name)
            && let Some(sum) = resources::sum_of_requests(spec, name)
        {
            sums.push((name, sum.to_string()));
        }
    }
    let limits = given.map("limits").cloned().unwrap_or_default();
    let requests = spec.object("resources").object("requests");
    for (name, sum) in sums {
        requests.set(name, sum);
    }
    let supported = |name: &String| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-");
    resources::copy_missing(
        requests,
        limits.into_iter().filter(|(name, _)| supported(name)).collect(),
    );
}

/// A client that doesn't know `observedGeneration` must not lose it.
fn keep_observed(status: &mut Value, before: &Value) {
    if status.int("observedGeneration").unwrap_or(0) == 0 {
        status.take_from("observedGeneration", before);
    }
    for condition in status.each("conditions") {
        if condition.int("observedGeneration").unwrap_or(0) != 0 {
            continue;
        }
        let kind = condition.text("type");
        if let Some(old) = before.list("conditions").iter().find(|old| old.text("type") == kind)
            && let Some(seen) = old.int("observedGeneration")
        {
            condition.set("observedGeneration", seen);
        }
    }
}
