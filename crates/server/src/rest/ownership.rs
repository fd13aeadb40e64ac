//! `metadata.managedFields`: who owns which fields, on every write.

use api::forms;
use api::merge::apply::{ResetFields, Target, Versions, track_update};
use api::schema::TypeId;
use meta::GroupVersionKind;
use serde_json::Value;

use crate::kinds::Kind;

/// What is written through an endpoint, for the bookkeeping.
pub(crate) fn target<'a>(kind: &'a Kind, subresource: &'a str, reset: &'a ResetFields) -> Target<'a> {
    Target {
        schema: kind.row.schema(),
        ty: kind.row.ty,
        api_version: &kind.api_version,
        kind: &kind.row.kind,
        subresource,
        reset,
        versions: kind,
    }
}

/// The fields that an endpoint puts back to what they were, and that its writers therefore never own.
pub(crate) fn reset(kind: &Kind, subresource: &str) -> ResetFields {
    let has_status = kind.row.subresources.iter().any(|known| *known.name == *"status");
    match subresource {
        "status" if kind.row.custom.is_some() => ResetFields::these(&["metadata", "spec"]),
        "status" => ResetFields::these(&["spec"]),
        "" if has_status => ResetFields::these(&["status"]),
        _ => ResetFields::Nothing,
    }
}

/// Gives what a create, an update or a patch changed to its manager.
pub(crate) fn track(kind: &Kind, subresource: &str, old: Option<&Value>, new: &mut Value, manager: &str) {
    let reset = reset(kind, subresource);
    track_update(
        &target(kind, subresource, &reset),
        old,
        new,
        manager,
        jiff::Timestamp::now(),
    );
}

/// The versions of a custom resource differ in nothing but their names, as long as nobody converts between them; few
/// built-in kinds have more than one form.
impl Versions for Kind {
    fn at(&self, object: &Value, api_version: &str) -> Option<(TypeId, Value)> {
        let Some(custom) = &self.row.custom else {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let to = GroupVersionKind::new(group, version, &*self.row.kind);
            return forms::convert(object, &self.row.group_version_kind(), &to);
        };
        let ty = custom.type_in(api_version)?;
        let mut object = object.clone();
        object["apiVersion"] = api_version.into();
        Some((ty, object))
    }
}
