//! StorageVersionMigrations: bringing every object of a resource into the version that is stored now.

use jiff::Timestamp;
use meta::{FieldError, GroupResource, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, conditions, form, metadata, strategy};

/// The rules of `storagemigration.k8s.io` `storageversionmigrations`.
pub(crate) struct StorageVersionMigration;

impl Rules for StorageVersionMigration {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec").object("resource");
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
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let (resource, at) = (object.at("spec").at("resource"), Path::new("spec.resource"));
        let (plural, group) = (resource.text("resource"), resource.text("group"));
        let why = form::dns1035_label(plural);
        if plural.is_empty() {
            errors.required(&at.child("resource"), "resource is required to be set");
        } else if !why.is_empty() {
            errors.invalid(&at.child("resource"), plural, &why.join(","));
        }
        let why = form::dns_subdomain(group);
        if !group.is_empty() && !why.is_empty() {
            errors.invalid(&at.child("group"), group, &why.join(","));
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        errors.immutable(&Path::new("spec"), object.at("spec"), old.at("spec"));
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let (status, before, at) = (object.at("status"), old.at("status"), Path::new("status"));
        let revision = status.text("resourceVersion");
        if !revision.is_empty() && !is_revision(revision) {
            let detail = format!("resource version is not well formed: {revision}");
            errors.invalid(&at.child("resourceVersion"), revision, &detail);
        }
        let (list, at_list) = (status.list("conditions"), at.child("conditions"));
        conditions::check(list, &at_list, &mut errors);
        if !before.lacks("resourceVersion") && before.text("resourceVersion") != revision {
            errors.invalid(&at.child("resourceVersion"), revision, "field is immutable");
        }
        let told = if list.is_empty() { Value::Null } else { list.into() };
        let mut wrong = |detail: &str| errors.invalid(&at_list, told.clone(), detail);
        if is_true(status, "Succeeded") && is_true(status, "Failed") {
            wrong("Both success and failed conditions cannot be true at the same time");
        }
        if is_true(before, "Succeeded") && !is_true(status, "Succeeded") {
            wrong("Success condition cannot be set to false once it is true");
        }
        if is_true(before, "Failed") && !is_true(status, "Failed") {
            wrong("Failed condition cannot be set to false once it is true");
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            text("Name", "The object's name."),
            text("Resource", "Whose objects are brought up to date."),
            text("Status", "How far it is."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let resource = object.at("spec").at("resource");
        let resource = GroupResource::new(resource.text("group"), resource.text("resource"));
        let states = object.at("status").list("conditions").iter();
        let states = states.filter(|condition| condition.text("status") == "True");
        let mut states = states.map(|condition| condition.text("type"));
        let state = states.rfind(|kind| matches!(*kind, "Running" | "Failed" | "Succeeded"));
        vec![
            column::name(object),
            resource.to_string().into(),
            state.unwrap_or("Unknown").into(),
        ]
    }
}

fn is_true(status: &Value, kind: &str) -> bool {
    let condition = status
        .list("conditions")
        .iter()
        .find(|condition| condition.text("type") == kind);
    condition.is_some_and(|condition| condition.text("status") == "True")
}

fn is_revision(text: &str) -> bool {
    text.chars().all(|each| each.is_ascii_digit()) && !text.starts_with('0')
}
