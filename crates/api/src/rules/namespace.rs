//! Namespaces.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, strategy};

/// The rules of `namespaces`.
pub(crate) struct Namespace;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Rules for Namespace {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        label_with_name(object);
        object.object("spec");
        object.object("status").or_text("phase", "Active");
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set("status", json!({"phase": "Active"}));
        let spec = object.object("spec");
        if !spec
            .list("finalizers")
            .iter()
            .any(|finalizer| finalizer == "kubernetes")
        {
            let mut finalizers = spec.list("finalizers").to_vec();
            finalizers.push("kubernetes".into());
            spec.set("finalizers", finalizers);
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        object.object("spec").take_from("finalizers", old.at("spec"));
        strategy::keep_status(object, old);
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        if subresource == "finalize" {
            strategy::keep_status(object, old);
        } else {
            self.prepare_status(object, old);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::label, &mut errors);
        for finalizer in object.at("spec").list("finalizers") {
            check_finalizer(finalizer, &Path::new("spec.finalizers"), &mut errors);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(object);
        errors.extend(metadata::check_update(object, old));
        errors
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let (wanted, detail) = if object.at("metadata").has("deletionTimestamp") {
            (
                "Terminating",
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            )
        } else {
            ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
        };
        let phase = object.at("status").text("phase");
        if phase != wanted {
            errors.invalid(&Path::new("status.Phase"), phase, detail);
        }
        errors.0
    }

    fn validate_subresource(&self, subresource: &str, object: &Value, old: &Value) -> Vec<FieldError> {
        if subresource != "finalize" {
            return self.validate_status(object, old);
        }
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("spec.finalizers");
        for (index, finalizer) in object.at("spec").list("finalizers").iter().enumerate() {
            check_finalizer(finalizer, &at.index(index), &mut errors);
        }
        errors.0
    }

    fn canonicalize(&self, object: &mut Value) {
        label_with_name(object);
    }

    fn selectable(&self) -> &'static [&'static str] {
        // `name` is an old alias.
        &["metadata.name", "status.phase", "name"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let name = object.at("metadata").text("name");
        vec![
            ("metadata.name", name.to_owned()),
            ("status.phase", object.at("status").text("phase").to_owned()),
            ("name", name.to_owned()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Status", "Whether the namespace is in use or going away."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.at("status").text("phase").into(),
            age::cell(object, now),
        ]
    }
}

fn label_with_name(object: &mut Value) {
    let metadata = object.object("metadata");
    let name = metadata.text("name").to_owned();
    if !name.is_empty() && metadata.at("labels").text(NAME_LABEL) != name {
        metadata.object("labels").set(NAME_LABEL, name);
    }
}

fn check_finalizer(finalizer: &Value, at: &Path<'_>, errors: &mut Errors) {
    let name = finalizer.as_str().unwrap_or_default();
    errors.form(at, name, form::qualified_name);
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        errors.invalid(
            at,
            name,
            "name is neither a standard finalizer name nor is it fully qualified",
        );
    }
}
