//! PersistentVolumeClaims, and the claim templates in other kinds.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text, wide};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, form, metadata, resources, strategy};

/// The rules of `persistentvolumeclaims`.
pub(crate) struct PersistentVolumeClaim;

pub(crate) const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(crate) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Status", "Whether the claim has its volume."),
    text("Volume", "The volume that the claim has."),
    text("Capacity", "How much the volume holds."),
    text("Access Modes", "From how many nodes the volume can be used, and how."),
    text("StorageClass", "The class of storage asked for."),
    text("VolumeAttributesClass", "The class of volume attributes asked for."),
    age::AGE,
    wide("VolumeMode", "Whether the volume has a file system."),
];

/// Defaults of a claim, wherever it is.
pub(crate) fn fill(claim: &mut Value) {
    let spec = claim.object("spec");
    spec.object("resources");
    spec.or("volumeMode", "Filesystem");
    resources::round_resources(spec);
    let status = claim.object("status");
    status.or_text("phase", "Pending");
    resources::round(status.there("capacity"));
    resources::round(status.there("allocatedResources"));
}

impl Rules for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        fill(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set("status", serde_json::json!({"phase": "Pending"}));
        let spec = object.object("spec");
        if spec.has("dataSource") && !spec.has("dataSourceRef") && !is_known_source(spec.at("dataSource")) {
            spec.drop("dataSource");
        }
        data_sources(spec);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
        data_sources(object.object("spec"));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        check_spec(object.at("spec"), &Path::new("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        check_spec(object.at("spec"), &Path::new("spec"), &mut errors);
        changes(object, old, &mut errors);
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        // `name` is an old alias.
        &["metadata.name", "metadata.namespace", "name"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let metadata = object.at("metadata");
        let name = metadata.text("name").to_owned();
        let namespace = metadata.text("namespace").to_owned();
        vec![
            ("metadata.name", name.clone()),
            ("metadata.namespace", namespace),
            ("name", name),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let bound = !spec.lacks("volumeName");
        let capacity = if bound {
            resources::shown(status.at("capacity"), "storage")
        } else {
            String::new()
        };
        let modes = if bound {
            access_modes(status.list("accessModes"))
        } else {
            String::new()
        };
        vec![
            column::name(object),
            phase(object).into(),
            spec.text("volumeName").into(),
            capacity.into(),
            modes.into(),
            class(object).into(),
            or_unset(spec, "volumeAttributesClassName").into(),
            age::cell(object, now),
            or_unset(spec, "volumeMode").into(),
        ]
    }
}

/// The phase, or that the object is going away.
pub(crate) fn phase(object: &Value) -> &str {
    if object.at("metadata").has("deletionTimestamp") {
        "Terminating"
    } else {
        object.at("status").text("phase")
    }
}

/// The storage class, which used to be an annotation.
pub(crate) fn class(object: &Value) -> &str {
    let old = object.at("metadata").at("annotations").at(CLASS_ANNOTATION);
    old.as_str().unwrap_or(object.at("spec").text("storageClassName"))
}

/// The text, `<unset>` when absent.
pub(crate) fn or_unset<'a>(spec: &'a Value, name: &str) -> &'a str {
    spec.at(name).as_str().unwrap_or("<unset>")
}

/// Access modes in short, each once and in a fixed order.
pub(crate) fn access_modes(modes: &[Value]) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let present = short.iter().filter(|(long, _)| modes.iter().any(|mode| mode == long));
    present.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// Other sources were silently ignored before there was `dataSourceRef`, and still are.
fn is_known_source(source: &Value) -> bool {
    match source.text("kind") {
        "PersistentVolumeClaim" => source.lacks("apiGroup"),
        "VolumeSnapshot" => source.text("apiGroup") == "snapshot.storage.k8s.io",
        _ => false,
    }
}

/// The old and the new field for the source of the data follow each other.
fn data_sources(spec: &mut Value) {
    match (spec.has("dataSource"), spec.has("dataSourceRef")) {
        (true, false) => {
            let source = spec.at("dataSource").clone();
            spec.set("dataSourceRef", source);
        }
        (false, true) if spec.at("dataSourceRef").lacks("namespace") => {
            let source = spec.at("dataSourceRef").clone();
            spec.set("dataSource", source);
        }
        _ => {}
    }
}

/// Checks a claim's spec, wherever it is.
pub(crate) fn check_spec(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let modes = spec.list("accessModes");
    let at_modes = at.child("accessModes");
    if modes.is_empty() {
        errors.required(&at_modes, "at least 1 access mode is required");
    }
    errors.selector(&at.child("selector"), spec.at("selector"));
    check_access_modes(modes, &at_modes, errors);
    let at_resources = at.child("resources");
    let at_storage = at_resources.key("storage");
    match resources::quantity(spec.at("resources").at("requests"), "storage") {
        None => errors.required(&at_storage, ""),
        Some(amount) if amount.is_zero() || amount.is_negative() => {
            let shown = spec.at("resources").at("requests").at("storage").clone();
            errors.invalid(&at_storage, shown, "must be greater than zero");
        }
        Some(_) => {}
    }
    for name in ["storageClassName", "volumeAttributesClassName"] {
        if !spec.lacks(name) {
            errors.form(&at.child(name), spec.text(name), form::dns_subdomain);
        }
    }
    if spec.has("volumeMode") {
        errors.one_of(&at.child("volumeMode"), spec.text("volumeMode"), &VOLUME_MODES);
    }
    for name in ["dataSource", "dataSourceRef"] {
        let source = spec.at(name);
        if source.is_null() {
            continue;
        }
        let at = at.child(name);
        for field in ["name", "kind"] {
            if source.lacks(field) {
                errors.required(&at.child(field), "");
            }
        }
        if source.lacks("apiGroup") && source.text("kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(&at, source.text("kind"), detail);
        }
    }
}

/// Checks access modes of a claim or a volume.
pub(crate) fn check_access_modes(modes: &[Value], at: &Path<'_>, errors: &mut Errors) {
    let (mut alone, mut shared) = (false, false);
    for mode in modes {
        let mode = mode.as_str().unwrap_or_default();
        errors.one_of(at, mode, &ACCESS_MODES);
        if mode == "ReadWriteOncePod" {
            alone = true;
        } else if ACCESS_MODES.contains(&mode) {
            shared = true;
        }
    }
    if alone && shared {
        errors.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn changes(object: &Value, old: &Value, errors: &mut Errors) {
    let (new, before) = (object.at("spec"), old.at("spec"));
    let mut allowed = new.clone();
    if before.lacks("volumeName") {
        allowed.take_from("volumeName", before);
    }
    if !before.has("storageClassName") && !old.at("metadata").at("annotations").has(CLASS_ANNOTATION) {
        allowed.take_from("storageClassName", before);
    }
    if object.at("status").text("phase") == "Bound" {
        let requests = before.at("resources").at("requests");
        allowed
            .object("resources")
            .object("requests")
            .take_from("storage", requests);
        allowed.take_from("volumeAttributesClassName", before);
    }
    if !same(&allowed, before) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
        errors.forbidden(&Path::new("spec"), detail);
    }
    let size = |spec: &Value| resources::quantity(spec.at("resources").at("requests"), "storage").unwrap_or_default();
    let held = resources::quantity(old.at("status").at("capacity"), "storage").unwrap_or_default();
    if size(new) < size(before) && size(new) <= held {
        let detail = "field can not be less than status.capacity";
        errors.forbidden(&Path::new("spec.resources.requests.storage"), detail);
    }
    errors.immutable(&Path::new("volumeMode"), new.at("volumeMode"), before.at("volumeMode"));
}
