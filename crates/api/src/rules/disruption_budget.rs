//! PodDisruptionBudgets.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, integer, text};
use super::view::{Edit as _, View as _};
use super::workload::{amount_or_percent, at_most_all};
use super::{Column, Rules, age, metadata, strategy, workload};

/// The rules of `policy` `poddisruptionbudgets`.
pub(crate) struct PodDisruptionBudget;

const COUNTS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

impl Rules for PodDisruptionBudget {
    fn default(&self, object: &mut Value) {
        object.object("spec");
        let status = object.object("status");
        for name in COUNTS {
            status.or(name, 0);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
        object.set("status", json!({}));
        self.default(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        spec(object.at("spec"), &mut errors);
        if errors.0.is_empty() {
            metadata::create(object, true, metadata::segment, &mut errors);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        workload::status(object, old, &COUNTS, &[])
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Min Available", "How many pods must stay available."),
            text("Max Unavailable", "How many pods may be unavailable."),
            integer("Allowed Disruptions", "How many pods may be evicted now."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let shown = |name: &str| match spec.at(name) {
            Value::Null => "N/A".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![
            column::name(object),
            shown("minAvailable").into(),
            shown("maxUnavailable").into(),
            column::number(object.at("status"), "disruptionsAllowed"),
            age::cell(object, now),
        ]
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        errors.invalid(&at, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for name in ["minAvailable", "maxUnavailable"] {
        if spec.has(name) {
            amount_or_percent(&at.child(name), spec.at(name), errors);
            at_most_all(&at.child(name), spec.at(name), errors);
        }
    }
    errors.selector(&at.child("selector"), spec.at("selector"));
    if spec.has("unhealthyPodEvictionPolicy") {
        let policy = spec.text("unhealthyPodEvictionPolicy");
        errors.one_of(
            &at.child("unhealthyPodEvictionPolicy"),
            policy,
            &["AlwaysAllow", "IfHealthyBudget"],
        );
    }
}
