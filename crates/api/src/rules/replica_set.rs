//! ReplicaSets, and ReplicationControllers, their elders.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, CONTAINERS, IMAGES, SELECTOR, integer};
use super::pod::{self, PodForm};
use super::view::{Edit as _, View as _};
use super::workload;
use super::{Column, Rules, age, metadata, strategy};

/// The rules of `apps` `replicasets`.
pub(crate) struct ReplicaSet;
/// The rules of `replicationcontrollers`.
pub(crate) struct ReplicationController;

const COLUMNS: &[Column] = &[
    age::NAME,
    integer("Desired", "How many pods are wanted."),
    integer("Current", "How many pods there are."),
    integer("Ready", "How many pods are ready."),
    age::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const SELECTABLE: &[&str] = &["metadata.name", "metadata.namespace", "status.replicas"];
const COUNTERS: &[&str] = &[
    "replicas",
    "fullyLabeledReplicas",
    "readyReplicas",
    "availableReplicas",
    "observedGeneration",
    "terminatingReplicas",
];
const PARTS: &[(&str, &str, &str)] = &[
    (
        "fullyLabeledReplicas",
        "replicas",
        "cannot be greater than status.replicas",
    ),
    ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
    (
        "availableReplicas",
        "replicas",
        "cannot be greater than status.replicas",
    ),
    (
        "availableReplicas",
        "readyReplicas",
        "cannot be greater than readyReplicas",
    ),
];

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or("replicas", 1);
        pod::default_template(spec.object("template"));
        object.object("status").or("replicas", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
        object.object("status").set("replicas", 0);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        replica_set(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        replica_set(object.at("spec"), &mut errors);
        let selector = Path::new("spec.selector");
        errors.immutable(
            &selector,
            object.at("spec").at("selector"),
            old.at("spec").at("selector"),
        );
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        workload::status(object, old, COUNTERS, PARTS)
    }

    fn selectable(&self) -> &'static [&'static str] {
        SELECTABLE
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        selectable_fields(object)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(object, column::selector(object.at("spec").at("selector")), now)
    }
}

impl Rules for ReplicationController {
    fn orphans_by_default(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or("replicas", 1);
        if let Some(template) = spec.there("template") {
            pod::default_template(template);
        }
        let labels = spec.at("template").at("metadata").at("labels").clone();
        if labels.is_object() {
            if spec.map("selector").is_none_or(serde_json::Map::is_empty) {
                spec.set("selector", labels.clone());
            }
            let metadata = object.object("metadata");
            if metadata.map("labels").is_none_or(serde_json::Map::is_empty) {
                metadata.set("labels", labels);
            }
        }
        object.object("status").or("replicas", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
        object.object("status").set("replicas", 0);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        controller(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        controller(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        workload::status(object, old, COUNTERS, PARTS)
    }

    fn selectable(&self) -> &'static [&'static str] {
        SELECTABLE
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        selectable_fields(object)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(object, column::labels(object.at("spec").at("selector")), now)
    }
}

fn replica_set(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    workload::not_negative(spec, &at, &["replicas", "minReadySeconds"], errors);
    workload::selector(spec, &at, "deployment", errors);
    workload::template(spec, &at, "ReplicaSet", errors);
}

fn controller(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    workload::not_negative(spec, &at, &["minReadySeconds"], errors);
    let selector = spec.at("selector");
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        errors.required(&at.child("selector"), "");
    }
    errors.not_negative(&at.child("replicas"), spec.int("replicas"));
    let (template, at) = (spec.at("template"), at.child("template"));
    if template.is_null() {
        errors.required(&at, "");
        return;
    }
    workload::matching_labels(&json!({ "matchLabels": selector }), template, &at, errors);
    pod::template(template, &at, PodForm::Template, errors);
    workload::runs_for_ever(template.at("spec"), &at.child("spec"), "ReplicationController", errors);
}

fn selectable_fields(object: &Value) -> Vec<(&'static str, String)> {
    let metadata = object.at("metadata");
    vec![
        ("metadata.name", metadata.text("name").to_owned()),
        ("metadata.namespace", metadata.text("namespace").to_owned()),
        (
            "status.replicas",
            object.at("status").int("replicas").unwrap_or(0).to_string(),
        ),
    ]
}

fn cells(object: &Value, selector: String, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (object.at("spec"), object.at("status"));
    let [names, images] = column::containers(spec.at("template").at("spec"));
    vec![
        column::name(object),
        column::number(spec, "replicas"),
        column::number(status, "replicas"),
        column::number(status, "readyReplicas"),
        age::cell(object, now),
        names,
        images,
        selector.into(),
    ]
}
