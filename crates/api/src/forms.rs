//! Built-in resources that more than one version of their group serves in different shapes: how an object gets from the
//! stored one to another, and back.

pub(crate) mod autoscaler;

use meta::GroupVersionKind;
use serde_json::Value;

use crate::codec::{core_event, new_event};
use crate::resource::builtin_type;
use crate::schema::TypeId;

/// The way between a version's form and the stored one.
#[derive(Debug)]
pub struct Form {
    /// From the stored form.
    pub outward: fn(Value) -> Value,
    /// To the stored form.
    pub inward: fn(Value) -> Value,
    /// The field of the stored form that a selector means by a label; none when objects can't be selected by it.
    pub field: fn(&str) -> Option<String>,
}

/// The groups whose kinds have several versions of the same form.
const SAME: [&str; 2] = ["certificates.k8s.io", "storagemigration.k8s.io"];

/// An object in another version of its group, with the type that it has there; none when the kind has one version only.
#[must_use]
pub fn convert(object: &Value, from: &GroupVersionKind, to: &GroupVersionKind) -> Option<(TypeId, Value)> {
    let (here, there) = (of(from), of(to));
    if from.group != to.group || from.kind != to.kind {
        return None;
    }
    if here.is_none() && there.is_none() {
        let mut object = object.clone();
        object["apiVersion"] = to.group_version().to_string().into();
        let same = SAME.contains(&to.group.as_str()).then(|| builtin_type(to)).flatten();
        return Some((same?, object));
    }
    let stored = here.map_or_else(|| object.clone(), |form| (form.inward)(object.clone()));
    let converted = there.map_or_else(|| stored.clone(), |form| (form.outward)(stored.clone()));
    Some((builtin_type(to)?, converted))
}

/// The form of a kind; none when its objects are stored as they are shown.
#[must_use]
pub fn of(kind: &GroupVersionKind) -> Option<&'static Form> {
    match (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) {
        ("events.k8s.io", "v1", "Event") => Some(&Form {
            outward: new_event,
            inward: core_event,
            field: event_field,
        }),
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => Some(&Form {
            outward: autoscaler::to_v1,
            inward: autoscaler::to_v2,
            field: |label| Some(label.to_owned()),
        }),
        _ => None,
    }
}

/// Events of the new group are selected by their own names for what the old one keeps.
fn event_field(label: &str) -> Option<String> {
    match (label, label.split_once('.')) {
        (_, Some(("regarding", rest))) => Some(format!("involvedObject.{rest}")),
        ("reportingController", _) => Some("reportingComponent".to_owned()),
        ("reason" | "type", _) => Some(label.to_owned()),
        _ => None,
    }
}
