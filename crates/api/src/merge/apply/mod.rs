//! Server-side apply and the bookkeeping behind it: who owns which fields, on every write. Pure: objects come in as
//! trees and leave as trees, with `metadata.managedFields` brought up to date. Defaulting, validation and storing are
//! the caller's.

mod admit;
mod cap;
mod conflict;
mod last_applied;
mod managed;
mod prune;
mod reset;
mod scale;
mod server_side;
mod settle;
#[cfg(test)]
pub(in crate::merge) mod tests;
mod times;
mod track;

use std::sync::LazyLock;

use serde_json::Value;

pub use admit::{check_managed_fields, manager_name};
pub use conflict::Conflict;
pub(in crate::merge) use conflict::conflict_text;
pub use managed::{Manager, Operation};
pub use reset::{ResetFields, Step};
pub use scale::{ReplicasPaths, from_scale, to_scale};
pub use server_side::{Config, apply};
pub use times::keep_times;
pub use track::track_update;

use crate::merge::fields::FieldSet;
use crate::schema::{Schema, TypeId};

/// What is written: the endpoint's kind and version, and how ownership is kept there.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The schema of the kind.
    pub schema: &'a Schema,
    /// The kind's type in it.
    pub ty: TypeId,
    /// The group and version that the client speaks, such as `apps/v1`.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The subresource, empty for the object itself.
    pub subresource: &'a str,
    /// The fields that this endpoint resets.
    pub reset: &'a ResetFields,
    /// The kind's other versions.
    pub versions: &'a dyn Versions,
}

/// An object in another version of its kind. Managers own fields in the version that they wrote.
pub trait Versions {
    /// The object in that version, with the version's type; `None` when the version isn't served (any more), which
    /// makes its managers be forgotten.
    fn at(&self, object: &Value, api_version: &str) -> Option<(TypeId, Value)>;
}

/// A kind that has one version only.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn at(&self, _object: &Value, _api_version: &str) -> Option<(TypeId, Value)> {
        None
    }
}

/// What nobody ever owns: the object's identity and what the server keeps.
static NEVER_OWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

impl Target<'_> {
    /// The manager of this name as this endpoint knows it.
    fn manager(&self, name: &str, operation: Operation) -> Manager {
        Manager {
            name: if name.is_empty() { "unknown".into() } else { name.into() },
            operation,
            api_version: self.api_version.into(),
            subresource: self.subresource.into(),
        }
    }

    /// Kind and version as Go prints them.
    fn shown_kind(api_version: &str, kind: &str) -> String {
        match api_version.contains('/') {
            true => format!("{api_version}, Kind={kind}"),
            false => format!("/{api_version}, Kind={kind}"),
        }
    }

    /// An object as Kubernetes names it in errors.
    fn shown_object(&self, object: &Value) -> String {
        let text = |name: &str| {
            object
                .pointer(&format!("/metadata/{name}"))
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        format!(
            "{}/{}; {}",
            text("namespace"),
            text("name"),
            Self::shown_kind(self.api_version, self.kind)
        )
    }
}
