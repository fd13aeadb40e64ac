//! The way from client-side to server-side apply: `kubectl apply` kept the last configuration in an annotation. What is
//! in it with the live object's value was kubectl's all along, and its server-side apply may take it without force.

use serde_json::{Map, Value};

use super::{Conflict, Target};
use crate::merge::typed::{compare, fields_of, validate};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How large all annotations of an object may be together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The conflicts that the last configuration doesn't resolve; `None` when there is no usable one.
pub(super) fn unresolved(target: &Target<'_>, live: &Value, conflicts: &[Conflict]) -> Option<Vec<Conflict>> {
    let text = annotation(live).filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(target.api_version) {
        return None;
    }
    for object in [live, &last] {
        validate(target.schema, target.ty, object).ok()?;
    }
    let differs = compare(target.schema, target.ty, &last, live).ok()?;
    let owned = fields_of(target.schema, target.ty, &last)
        .difference(&differs.modified)
        .difference(&differs.added)
        .difference(&differs.removed);
    Some(
        conflicts
            .iter()
            .filter(|conflict| !owned.has(&conflict.path.0))
            .cloned()
            .collect(),
    )
}

/// Keeps an annotation that is there in step with what was applied, so that client-side apply can go on from it. One
/// that would make the annotations too large is dropped.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if annotation(object).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = annotations_mut(&mut config) {
        annotations.remove(ANNOTATION);
    }
    let metadata = config.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata.filter(|metadata| metadata.get("annotations").is_some_and(Value::is_null)) {
        metadata.remove("annotations");
    }
    let text = escaped(&config.to_string()) + "\n";
    let Some(annotations) = annotations_mut(object) else {
        return;
    };
    annotations.insert(ANNOTATION.into(), Value::String(text));
    let size: usize = annotations
        .iter()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()
}

fn annotations_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}

/// JSON as Go writes it, fit for HTML. These characters are in strings only.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
