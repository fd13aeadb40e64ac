//! PersistentVolumes.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text, wide};
use super::persistent_volume_claim::{VOLUME_MODES, access_modes, check_access_modes, class, or_unset, phase};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, form, metadata, pod, resources, strategy};

/// The rules of `persistentvolumes`.
pub(crate) struct PersistentVolume;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Capacity", "How much the volume holds."),
    text("Access Modes", "From how many nodes the volume can be used, and how."),
    text("Reclaim Policy", "What happens to the volume when its claim goes."),
    text("Status", "Whether the volume is claimed."),
    text("Claim", "The claim that has the volume."),
    text("StorageClass", "The class of storage."),
    text("VolumeAttributesClass", "The class of volume attributes."),
    text("Reason", "Why the volume is in this state."),
    age::AGE,
    wide("VolumeMode", "Whether the volume has a file system."),
];

/// The fields of the spec that say where the volume is.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

impl Rules for PersistentVolume {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or_text("persistentVolumeReclaimPolicy", "Retain");
        spec.or("volumeMode", "Filesystem");
        resources::round(spec.there("capacity"));
        for (name, fill) in pod::VOLUME_DEFAULTS {
            if matches!(*name, "hostPath" | "iscsi" | "rbd" | "azureDisk" | "scaleIO")
                && let Some(source) = spec.there(name)
            {
                fill(source);
            }
        }
        object.object("status").or_text("phase", "Pending");
    }

    fn prepare_create(&self, object: &mut Value) {
        let mut status = json!({"phase": "Pending"});
        let now = object.at("metadata").at("creationTimestamp");
        if !now.is_null() {
            status.set("lastPhaseTransitionTime", now.clone());
        }
        object.set("status", status);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        let (spec, before) = (object.at("spec"), old.at("spec"));
        if SOURCES.iter().any(|name| !same(spec.at(name), before.at(name))) {
            let detail = "spec.persistentvolumesource is immutable after creation\n";
            errors.forbidden(&Path::new("spec.persistentvolumesource"), detail);
        }
        errors.immutable(&Path::new("volumeMode"), spec.at("volumeMode"), before.at("volumeMode"));
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        // `name` is an old alias.
        &["metadata.name", "name"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let name = object.at("metadata").text("name");
        vec![("metadata.name", name.to_owned()), ("name", name.to_owned())]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let claim = spec.at("claimRef");
        let claim = if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", claim.text("namespace"), claim.text("name"))
        };
        vec![
            column::name(object),
            resources::shown(spec.at("capacity"), "storage").into(),
            access_modes(spec.list("accessModes")).into(),
            spec.text("persistentVolumeReclaimPolicy").into(),
            phase(object).into(),
            claim.into(),
            class(object).into(),
            or_unset(spec, "volumeAttributesClassName").into(),
            object.at("status").text("reason").into(),
            age::cell(object, now),
            or_unset(spec, "volumeMode").into(),
        ]
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let at_modes = at.child("accessModes");
    if spec.list("accessModes").is_empty() {
        errors.required(&at_modes, "");
    }
    check_access_modes(spec.list("accessModes"), &at_modes, errors);
    capacity(spec, &at.child("capacity"), errors);
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        errors.one_of(
            &at.child("persistentVolumeReclaimPolicy"),
            policy,
            &["Delete", "Recycle", "Retain"],
        );
    }
    let required = spec.at("nodeAffinity").at("required");
    if spec.has("nodeAffinity") {
        let at = at.child("nodeAffinity").to_string();
        let at = Path::new(&at);
        if required.is_null() {
            errors.required(&at.child("required"), "must specify required node constraints");
        } else {
            pod::node_selector(required, &at.child("required"), errors);
        }
    }
    sources(spec, &at, errors);
    if !spec.lacks("storageClassName") {
        errors.form(
            &at.child("storageClassName"),
            spec.text("storageClassName"),
            form::dns_subdomain,
        );
    }
    if spec.has("volumeMode") {
        errors.one_of(&at.child("volumeMode"), spec.text("volumeMode"), &VOLUME_MODES);
    }
}

fn capacity(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let capacity = spec.map("capacity");
    let count = capacity.map_or(0, serde_json::Map::len);
    if count == 0 {
        errors.required(at, "");
    }
    if count > 1 || !spec.at("capacity").has("storage") {
        errors
            .0
            .push(FieldError::not_supported(at, spec.at("capacity").clone(), &["storage"]));
    }
    for (name, value) in capacity.into_iter().flatten() {
        if let Some(amount) = resources::parse(value) {
            let at = at.key(name);
            if amount.is_negative() {
                errors.invalid(&at, value.clone(), "must be a valid resource quantity");
            }
            if amount.is_negative() || amount.is_zero() {
                errors.invalid(&at, value.clone(), "must be greater than zero");
            }
        }
    }
}

fn sources(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut first = true;
    for name in SOURCES {
        if !spec.has(name) {
            continue;
        }
        let at = at.child(name);
        if !first {
            errors.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        first = false;
        let source = spec.at(name);
        match *name {
            "hostPath" => pod::host_path(source, &at, errors),
            "local" => {
                if source.lacks("path") {
                    errors.required(&at.child("path"), "");
                }
                if !spec.has("nodeAffinity") {
                    let detail = "Local volume requires node affinity";
                    errors.required(&Path::new("metadata.annotations"), detail);
                }
            }
            "csi" => {
                errors.required_form(&at.child("driver"), source.text("driver"), form::dns_subdomain);
                if source.lacks("volumeHandle") {
                    errors.required(&at.child("volumeHandle"), "");
                }
            }
            _ => {}
        }
    }
    if first {
        errors.required(at, "must specify a volume type");
    }
}
