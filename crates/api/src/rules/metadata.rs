//! What holds for the metadata of every object: names, labels, annotations, owners, finalizers, and what never changes.

use meta::{FieldError, Path};
use serde_json::Value;

use super::check::{Errors, IMMUTABLE};
use super::form;
use super::view::{View as _, same};

const MOST_ANNOTATION_BYTES: usize = 256 * 1024;

/// A check of a name; `prefix` is true for a `generateName`.
pub(crate) type NameForm = fn(name: &str, prefix: bool) -> Vec<String>;

/// The name is a DNS subdomain: most kinds.
pub(crate) fn subdomain(name: &str, prefix: bool) -> Vec<String> {
    masked(name, prefix, form::dns_subdomain)
}

/// The name is a DNS label.
pub(crate) fn label(name: &str, prefix: bool) -> Vec<String> {
    masked(name, prefix, form::dns_label)
}

/// The name is one segment of a path.
pub(crate) fn segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        form::path_segment_prefix(name)
    } else {
        form::path_segment(name)
    }
}

fn masked(name: &str, prefix: bool, check: fn(&str) -> Vec<String>) -> Vec<String> {
    if prefix {
        check(&meta::names::mask_trailing_dash(name))
    } else {
        check(name)
    }
}

/// Checks the metadata of a new object.
pub(crate) fn create(object: &Value, namespaced: bool, name_form: NameForm, errors: &mut Errors) {
    template(
        object.at("metadata"),
        namespaced,
        name_form,
        &Path::new("metadata"),
        errors,
    );
}

/// Checks metadata that isn't at the top, such as a template's.
pub(crate) fn template(metadata: &Value, namespaced: bool, name_form: NameForm, at: &Path<'_>, errors: &mut Errors) {
    plain_template(metadata, namespaced, name_form, at, errors);
    known_finalizers(metadata, &at.child("finalizers"), errors);
}

/// The same for kinds that aren't of Kubernetes' core: their finalizers need no domain.
pub(crate) fn plain_template(
    metadata: &Value,
    namespaced: bool,
    name_form: NameForm,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let (name, prefix) = (metadata.text("name"), metadata.text("generateName"));
    if !prefix.is_empty() {
        errors.invalid_each(&at.child("generateName"), prefix, name_form(prefix, true));
    }
    if name.is_empty() {
        errors.required(&at.child("name"), "name or generateName is required");
    } else {
        errors.invalid_each(&at.child("name"), name, name_form(name, false));
    }
    let namespace = metadata.text("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&at.child("namespace"), ""),
        (true, false) => errors.form(&at.child("namespace"), namespace, form::dns_label),
        (false, false) => errors.forbidden(&at.child("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    errors.not_negative(&at.child("generation"), metadata.int("generation"));
    shared(metadata, at, errors);
    finalizers(metadata, at, errors);
}

/// Checks what an update makes of the metadata.
pub(crate) fn update(object: &Value, old: &Value, errors: &mut Errors) {
    plain_update(object, old, errors);
    let at = Path::new("metadata");
    known_finalizers(object.at("metadata"), &at.child("finalizers"), errors);
}

/// The same for kinds that aren't of Kubernetes' core: their finalizers need no domain.
pub(crate) fn plain_update(object: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (object.at("metadata"), old.at("metadata"));
    if old.has("deletionTimestamp") {
        no_new_finalizers(new, old, errors);
    }
    if new.lacks("resourceVersion") {
        errors.invalid(
            &Path::new("metadata").child("resourceVersion"),
            "",
            "must be specified for an update",
        );
    }
    let generation = new.int("generation").unwrap_or(0);
    errors.not_negative(&Path::new("metadata").child("generation"), Some(generation));
    if generation < old.int("generation").unwrap_or(0) {
        errors.invalid(
            &Path::new("metadata").child("generation"),
            generation,
            "must not be decremented",
        );
    }
    for name in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if !same(new.at(name), old.at(name)) {
            let shown = if new.has(name) || name.starts_with("deletion") || name.starts_with("creation") {
                new.at(name).clone()
            } else {
                "".into()
            };
            errors.invalid(&Path::new("metadata").child(name), shown, IMMUTABLE);
        }
    }
    shared(new, &Path::new("metadata"), errors);
}

/// The update check alone, for kinds that check nothing else.
pub(crate) fn check_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    update(object, old, &mut errors);
    errors.0
}

fn shared(metadata: &Value, at: &Path<'_>, errors: &mut Errors) {
    errors.labels(&at.child("labels"), metadata.at("labels"));
    annotations(metadata.at("annotations"), &at.child("annotations"), errors);
    owners(metadata, at, errors);
}

/// Checks annotations: the keys, and the size of all together.
pub(crate) fn annotations(annotations: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if key.bytes().any(|b| b.is_ascii_uppercase()) {
            errors.invalid_each(at, key, form::qualified_name(&key.to_ascii_lowercase()));
        } else {
            errors.invalid_each(at, key, form::qualified_name(key));
        }
    }
    if size > MOST_ANNOTATION_BYTES {
        errors.too_long(at, MOST_ANNOTATION_BYTES);
    }
}

fn owners(metadata: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("ownerReferences");
    let mut controller: Option<String> = None;
    for (index, owner) in metadata.list("ownerReferences").iter().enumerate() {
        let each = at.index(index);
        let version = owner.text("apiVersion");
        let well_formed = version.matches('/').count() < 2 && !version.ends_with('/');
        if version.is_empty() {
            errors.required(&each.child("apiVersion"), "must not be empty");
        } else if !well_formed {
            errors.invalid(
                &each.child("apiVersion"),
                version,
                "must be <group>/<version> or <version>",
            );
        }
        for name in ["kind", "name", "uid"] {
            if owner.lacks(name) {
                errors.required(&each.child(name), "must not be empty");
            }
        }
        if version == "v1" && owner.text("kind") == "Event" {
            errors.invalid(
                &each,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner.is("controller") {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            if let Some(first) = &controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.invalid(&at, metadata.at("ownerReferences").clone(), &detail);
            } else {
                controller = Some(this);
            }
        }
    }
}

fn finalizers(metadata: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at = at.child("finalizers");
    let list = metadata.list("finalizers");
    for finalizer in list {
        let text = finalizer.as_str().unwrap_or_default();
        errors.form(&at, text, form::qualified_name);
    }
    let has = |name: &str| list.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(&at, metadata.at("finalizers").clone(), detail);
    }
}

/// A finalizer without a domain must be one of Kubernetes' own.
fn known_finalizers(metadata: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (index, finalizer) in metadata.list("finalizers").iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&at.index(index), name, detail);
        }
    }
}

fn no_new_finalizers(new: &Value, old: &Value, errors: &mut Errors) {
    let before = old.list("finalizers");
    let mut extra: Vec<&str> = new
        .list("finalizers")
        .iter()
        .filter(|f| !before.contains(f))
        .filter_map(Value::as_str)
        .collect();
    if extra.is_empty() {
        return;
    }
    extra.sort_unstable();
    extra.dedup();
    let quoted: Vec<String> = extra.iter().map(|name| format!("{name:?}")).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        quoted.join(", ")
    );
    errors.forbidden(&Path::new("metadata").child("finalizers"), &detail);
}
