//! Deployments.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, CONTAINERS, IMAGES, SELECTOR, text};
use super::view::{Edit as _, View as _, same};
use super::workload::{self, amount, amount_or_percent, at_most_all};
use super::{Column, Rules, age, metadata, pod, strategy};

/// The rules of `apps` `deployments`.
pub(crate) struct Deployment;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Ready", "How many pods are ready, of how many wanted."),
    text("Up-to-date", "How many pods have the newest template."),
    text("Available", "How many pods have been ready for long enough."),
    age::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

impl Rules for Deployment {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or("replicas", 1);
        let strategy = spec.object("strategy");
        strategy.or_text("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.object("rollingUpdate");
            rolling.or("maxUnavailable", "25%");
            rolling.or("maxSurge", "25%");
        }
        spec.or("revisionHistoryLimit", 10);
        spec.or("progressDeadlineSeconds", 600);
        pod::default_template(spec.object("template"));
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
        // Revision bookkeeping lives in annotations, so a change of those counts too.
        let (new, before) = (object.at("metadata"), old.at("metadata"));
        let unchanged = new.int("generation") == before.int("generation");
        if unchanged && !same(new.at("annotations"), before.at("annotations")) {
            strategy::set_generation(object, before.int("generation").unwrap_or(0) + 1);
        }
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        strategy::keep_labels(object, old);
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
        let replicas = "cannot be greater than status.replicas";
        workload::status(
            object,
            old,
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            &[
                ("updatedReplicas", "replicas", replicas),
                ("readyReplicas", "replicas", replicas),
                ("availableReplicas", "replicas", replicas),
                (
                    "availableReplicas",
                    "readyReplicas",
                    "cannot be greater than readyReplicas",
                ),
            ],
        )
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let [names, images] = column::containers(spec.at("template").at("spec"));
        let (ready, wanted) = (
            status.int("readyReplicas").unwrap_or(0),
            spec.int("replicas").unwrap_or(0),
        );
        vec![
            column::name(object),
            format!("{ready}/{wanted}").into(),
            column::number(status, "updatedReplicas"),
            column::number(status, "availableReplicas"),
            age::cell(object, now),
            names,
            images,
            column::query(spec.at("selector")).into(),
        ]
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    errors.not_negative(&at.child("replicas"), spec.int("replicas"));
    workload::selector(spec, &at, "deployment", errors);
    workload::template(spec, &at, "ReplicaSet", errors);
    rollout(spec.at("strategy"), &at.child("strategy"), errors);
    workload::not_negative(spec, &at, &["minReadySeconds", "revisionHistoryLimit"], errors);
    if let Some(deadline) = spec.int("progressDeadlineSeconds") {
        let at = at.child("progressDeadlineSeconds");
        errors.not_negative(&at, Some(deadline));
        if deadline <= spec.int("minReadySeconds").unwrap_or(0) {
            errors.invalid(&at, deadline, "must be greater than minReadySeconds");
        }
    }
}

fn rollout(strategy: &Value, at: &Path<'_>, errors: &mut Errors) {
    let rolling = strategy.at("rollingUpdate");
    let below = at.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" if !rolling.is_null() => {
            errors.forbidden(&below, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
            let at_unavailable = below.child("maxUnavailable");
            amount_or_percent(&at_unavailable, unavailable, errors);
            amount_or_percent(&below.child("maxSurge"), surge, errors);
            if amount(unavailable) == 0 && amount(surge) == 0 {
                errors.invalid(
                    &at_unavailable,
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            at_most_all(&at_unavailable, unavailable, errors);
        }
        _ => errors.0.push(FieldError::not_supported(
            at,
            strategy.clone(),
            &["Recreate", "RollingUpdate"],
        )),
    }
}
