//! Leases.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, metadata};

/// The rules of `coordination.k8s.io` `leases`.
pub(crate) struct Lease;

impl Rules for Lease {
    fn default(&self, object: &mut Value) {
        object.object("spec");
    }

    fn prepare_create(&self, object: &mut Value) {
        drop_coordination(object, &Value::Null);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        drop_coordination(object, old.at("spec"));
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
        errors.0
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("Holder", "Who holds the lease."), age::AGE];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.at("spec").text("holderIdentity").into(),
            age::cell(object, now),
        ]
    }
}

/// Coordinated leader election isn't on: its fields are dropped where they aren't in use already.
fn drop_coordination(object: &mut Value, old: &Value) {
    let spec = object.object("spec");
    for name in ["strategy", "preferredHolder"] {
        if !old.has(name) {
            spec.drop(name);
        }
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    if let Some(seconds) = spec.int("leaseDurationSeconds")
        && seconds <= 0
    {
        errors.invalid(&at.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    errors.not_negative(&at.child("leaseTransitions"), spec.int("leaseTransitions"));
    let strategy = spec.text("strategy");
    if spec.has("strategy") && !strategy.contains('/') {
        let at = at.child("strategy");
        errors.one_of(&at.child("strategy"), strategy, &["OldestEmulationVersion"]);
    }
    if !spec.lacks("preferredHolder") && strategy.is_empty() {
        errors.forbidden(
            &at.child("preferredHolder"),
            "may only be specified if `strategy` is defined",
        );
    }
}
