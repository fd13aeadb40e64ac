//! The kinds of `resource.k8s.io`: devices, who offers them, and who claims them.

mod checks;
mod claim;
mod slice;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::{Errors, IMMUTABLE};
use super::column::{self, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, metadata, strategy};

/// The rules of `deviceclasses`.
pub(crate) struct DeviceClass;
/// The rules of `devicetaintrules`.
pub(crate) struct DeviceTaintRule;
/// The rules of `resourceclaims`.
pub(crate) struct ResourceClaim;
/// The rules of `resourceclaimtemplates`.
pub(crate) struct ResourceClaimTemplate;
/// The rules of `resourceslices`.
pub(crate) struct ResourceSlice;

impl Rules for DeviceClass {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::count_generation(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        claim::class(object.at("spec"), &Value::Null, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        claim::class(object.at("spec"), old.at("spec"), &mut errors);
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        age::NAME_AND_AGE
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![column::name(object), age::cell(object, now)]
    }
}

impl Rules for DeviceTaintRule {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        checks::time_added(object.object("spec").object("taint"));
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
        let before = old.at("spec").at("taint");
        let taint = object.object("spec").object("taint");
        // The time says since when there is this effect, unless the client has an opinion.
        if taint.text("effect") != before.text("effect") && taint.text("timeAdded") == before.text("timeAdded") {
            taint.drop("timeAdded");
            checks::time_added(taint);
        }
        strategy::count_generation(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        strategy::keep_metadata(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        checks::taint_rule(object.at("spec"), &Value::Null, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        checks::taint_rule(object.at("spec"), old.at("spec"), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("status.conditions");
        checks::few_conditions(object.at("status").list("conditions"), &at, &mut errors);
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Key", "The taint's key."),
            text("Value", "The taint's value."),
            text("Effect", "What it does to claims and pods that don't tolerate it."),
            text("TimeAdded", "Since when there is this effect."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let taint = object.at("spec").at("taint");
        let added = match taint.text("timeAdded") {
            "" => String::new(),
            added => age::since(added, now),
        };
        vec![
            column::name(object),
            taint.text("key").into(),
            taint.text("value").into(),
            taint.text("effect").into(),
            added.into(),
            age::cell(object, now),
        ]
    }
}

impl Rules for ResourceClaim {
    fn default(&self, object: &mut Value) {
        claim::defaults(object.object("spec"));
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::drop_status(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        strategy::keep_metadata(object, old);
        claim::forget_deallocated(object.object("status"), old.at("status"));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        claim::spec(object.at("spec"), &Path::new("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        errors.fixed(&Path::new("spec"), object.at("spec"), old.at("spec"));
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        claim::status(object, old.at("status"), &mut errors);
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("State", "Whether it has its devices, and whether somebody uses them."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = object.at("status");
        let deleted = object.at("metadata").has("deletionTimestamp");
        let mut state = Vec::new();
        if deleted {
            state.push("deleted");
        }
        if status.has("allocation") {
            state.push("allocated");
            if !status.list("reservedFor").is_empty() {
                state.push("reserved");
            }
        } else if !deleted {
            state.push("pending");
        }
        vec![column::name(object), state.join(",").into(), age::cell(object, now)]
    }
}

impl Rules for ResourceClaimTemplate {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.object("metadata");
        claim::defaults(spec.object("spec"));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        template(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        if !same(object.at("spec"), old.at("spec")) {
            errors.invalid(&Path::new("spec"), object.at("spec").clone(), IMMUTABLE);
        }
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        age::NAME_AND_AGE
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![column::name(object), age::cell(object, now)]
    }
}

fn template(object: &Value, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let at_metadata = at.child("metadata");
    errors.labels(&at_metadata.child("labels"), spec.at("metadata").at("labels"));
    let annotations = at_metadata.child("annotations");
    metadata::annotations(spec.at("metadata").at("annotations"), &annotations, errors);
    claim::spec(spec.at("spec"), &at.child("spec"), errors);
}

impl Rules for ResourceSlice {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        slice::defaults(object.object("spec"));
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::count_generation(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        slice::spec(object.at("spec"), &Value::Null, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        slice::spec(object.at("spec"), old.at("spec"), &mut errors);
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "spec.driver", "spec.nodeName", "spec.pool.name"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Node", "The node that the devices belong to, when it is one."),
            text("Driver", "Who offers the devices."),
            text("Pool", "The pool that the slice is a part of."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        vec![
            column::name(object),
            spec.text("nodeName").into(),
            spec.text("driver").into(),
            spec.at("pool").text("name").into(),
            age::cell(object, now),
        ]
    }
}
