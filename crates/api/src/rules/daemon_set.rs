//! DaemonSets.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, CONTAINERS, IMAGES, SELECTOR, integer, text};
use super::view::{Edit as _, View as _};
use super::workload::{self, amount, amount_or_percent, at_most_all};
use super::{Column, Rules, age, metadata, pod, selector, strategy};

/// The rules of `apps` `daemonsets`.
pub(crate) struct DaemonSet;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

const COLUMNS: &[Column] = &[
    age::NAME,
    integer("Desired", "How many nodes should run the pod."),
    integer("Current", "How many nodes run the pod and should."),
    integer("Ready", "How many nodes have a ready pod."),
    integer("Up-to-date", "How many nodes have the newest pod."),
    integer("Available", "How many nodes have a pod that was ready for long enough."),
    text("Node Selector", "The labels of the nodes to run on."),
    age::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

impl Rules for DaemonSet {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        let strategy = spec.object("updateStrategy");
        strategy.or_text("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.object("rollingUpdate");
            rolling.or("maxUnavailable", 1);
            rolling.or("maxSurge", 0);
        }
        spec.or("revisionHistoryLimit", 10);
        pod::default_template(spec.object("template"));
        let status = object.object("status");
        for name in [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
        ] {
            status.or(name, 0);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
        set_template_generation(object, 1);
        self.default(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
        let before = template_generation(old);
        let changed = !super::view::same(object.at("spec").at("template"), old.at("spec").at("template"));
        set_template_generation(object, if changed { before + 1 } else { before });
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        let selector = Path::new("spec.selector");
        errors.immutable(
            &selector,
            object.at("spec").at("selector"),
            old.at("spec").at("selector"),
        );
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        workload::status(
            object,
            old,
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
            &[],
        )
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let pod_spec = spec.at("template").at("spec");
        let [names, images] = column::containers(pod_spec);
        vec![
            column::name(object),
            column::number(status, "desiredNumberScheduled"),
            column::number(status, "currentNumberScheduled"),
            column::number(status, "numberReady"),
            column::number(status, "updatedNumberScheduled"),
            column::number(status, "numberAvailable"),
            column::labels(pod_spec.at("nodeSelector")).into(),
            age::cell(object, now),
            names,
            images,
            column::selector(spec.at("selector")).into(),
        ]
    }
}

/// The template's generation travels in an annotation.
fn template_generation(object: &Value) -> i64 {
    object
        .at("metadata")
        .at("annotations")
        .text(TEMPLATE_GENERATION)
        .parse()
        .unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    object
        .object("metadata")
        .object("annotations")
        .set(TEMPLATE_GENERATION, generation.to_string());
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let (selector, at_template) = (spec.at("selector"), at.child("template"));
    errors.selector(&at.child("selector"), selector);
    workload::matching_labels(selector, spec.at("template"), &at_template, errors);
    if selector.is_object() && selector::is_empty(selector) {
        errors.invalid(
            &at.child("selector"),
            selector.clone(),
            "empty selector is invalid for daemonset",
        );
    }
    pod::template(spec.at("template"), &at_template, pod::PodForm::Template, errors);
    workload::runs_for_ever(
        spec.at("template").at("spec"),
        &at_template.child("spec"),
        "DaemonSet",
        errors,
    );
    workload::not_negative(spec, &at, &["minReadySeconds", "revisionHistoryLimit"], errors);
    rollout(spec.at("updateStrategy"), &at.child("updateStrategy"), errors);
}

fn rollout(strategy: &Value, at: &Path<'_>, errors: &mut Errors) {
    let below = at.child("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = strategy.at("rollingUpdate");
            let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
            let (at_unavailable, at_surge) = (below.child("maxUnavailable"), below.child("maxSurge"));
            amount_or_percent(&at_unavailable, unavailable, errors);
            amount_or_percent(&at_surge, surge, errors);
            at_most_all(&at_unavailable, unavailable, errors);
            at_most_all(&at_surge, surge, errors);
            match (amount(unavailable) != 0, amount(surge) != 0) {
                (true, true) => {
                    errors.invalid(
                        &at_surge,
                        surge.clone(),
                        "may not be set when maxUnavailable is non-zero",
                    );
                }
                (false, false) => errors.required(&at_unavailable, "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => errors.0.push(FieldError::not_supported(
            at,
            strategy.clone(),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}
