//! What the update strategies of many kinds share: keeping the status, keeping the spec, counting generations.

use serde_json::Value;

use super::view::{Edit as _, View as _, same};

/// Create: the status goes, the generation starts at 1.
pub(crate) fn start(object: &mut Value) {
    drop_status(object);
    set_generation(object, 1);
}

/// Create: the status goes; an empty one stays where Go's struct is always written.
pub(crate) fn drop_status(object: &mut Value) {
    object.set("status", Value::Object(serde_json::Map::new()));
}

/// Update: the status stays as it was.
pub(crate) fn keep_status(object: &mut Value, old: &Value) {
    object.take_from("status", old);
}

/// Update: the status stays, and a changed spec counts the generation up.
pub(crate) fn advance(object: &mut Value, old: &Value) {
    keep_status(object, old);
    count_generation(object, old);
}

/// Update: the generation is the old one, plus one when the spec differs.
pub(crate) fn count_generation(object: &mut Value, old: &Value) {
    let before = old.at("metadata").int("generation").unwrap_or(0);
    let now = if same(object.at("spec"), old.at("spec")) {
        before
    } else {
        before + 1
    };
    set_generation(object, now);
}

/// Sets `metadata.generation`; 0 is not written.
pub(crate) fn set_generation(object: &mut Value, generation: i64) {
    let metadata = object.object("metadata");
    if generation == 0 {
        metadata.drop("generation");
    } else {
        metadata.set("generation", generation);
    }
}

/// Status update: everything but the status and the metadata is as it was.
pub(crate) fn keep_all_but_status(object: &mut Value, old: &Value) {
    let Some(fields) = object.as_object() else { return };
    let mut names: Vec<String> = fields.keys().cloned().collect();
    names.extend(old.as_object().into_iter().flat_map(|old| old.keys().cloned()));
    for name in names {
        if !matches!(name.as_str(), "status" | "metadata" | "kind" | "apiVersion") {
            object.take_from(&name, old);
        }
    }
}

/// Status update: the labels are as they were too.
pub(crate) fn keep_labels(object: &mut Value, old: &Value) {
    object.object("metadata").take_from("labels", old.at("metadata"));
}

/// Status update of the younger kinds: of the metadata only what tracks the change itself comes from the client.
pub(crate) fn keep_metadata(object: &mut Value, old: &Value) {
    let metadata = object.object("metadata");
    for name in [
        "deletionTimestamp",
        "generation",
        "selfLink",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    ] {
        metadata.take_from(name, old.at("metadata"));
    }
}
