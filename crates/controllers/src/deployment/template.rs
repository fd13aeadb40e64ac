//! Pod templates: whether two are the same, the hash that names a replica set, the annotations that travel with it. Pure.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::world::Labels;

/// The label that tells the pods of one replica set from those of another.
pub(crate) const HASH: &str = "pod-template-hash";
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(crate) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a deployment that are not its replica sets'.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
];
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The template as a tree without the hash label and without absent values that are spelled out.
pub(crate) fn canonical(template: &str) -> Value {
    let mut template: Value = serde_json::from_str(template).unwrap_or(Value::Null);
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    strip(&mut template);
    template
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A short name for a template, another one after each collision.
pub(crate) fn hash(canonical: &Value, collisions: i32) -> String {
    let mut hasher = Sha256::new();
    // Object keys are sorted in a `Value`, so equal templates have equal texts.
    hasher.update(canonical.to_string());
    if collisions > 0 {
        hasher.update(collisions.to_be_bytes());
    }
    let digest = hasher.finalize();
    digest
        .iter()
        .take(10)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// The annotations of a deployment that its replica sets carry too.
pub(crate) fn inherited(annotations: &Labels) -> impl Iterator<Item = (&String, &String)> {
    annotations.iter().filter(|(key, _)| !OWN.contains(&key.as_str()))
}

/// The revision that an object says it is.
pub(crate) fn revision(annotations: &Labels) -> i64 {
    annotations
        .get(REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
