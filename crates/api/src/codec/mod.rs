//! Bytes to trees and back: JSON, YAML and protobuf, all along the schema table. What a client sends is checked for
//! types, unknown and duplicate fields in Kubernetes' words, and brought into the form that a Go server would keep: nulls
//! and unknown fields dropped, empty values left out or written as Go's types have it. No kind is named here.

mod custom;
mod events;
mod form;
mod problem;
pub mod protobuf;
mod read;
mod scalars;
mod yaml;

use meta::{GroupVersion, GroupVersionKind, Status};
use serde_json::Value;

use crate::custom::Custom;
use crate::resource::{Resource, Subresource, builtin_type};
use crate::schema::{Schema, TypeId};

pub use events::{core_event, new_event};
pub use yaml::duplicates;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl ContentType {
    /// Those that are read and written, in the order in which Kubernetes lists them.
    pub const ACCEPTED: [&'static str; 3] = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ];

    /// The type that a media type names; its parameters play no part.
    #[must_use]
    pub fn parse(media_type: &str) -> Option<Self> {
        match media_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(ContentType::Json),
            "application/yaml" => Some(ContentType::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(ContentType::Protobuf),
            _ => None,
        }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            ContentType::Json => Self::ACCEPTED[0],
            ContentType::Yaml => Self::ACCEPTED[1],
            ContentType::Protobuf => Self::ACCEPTED[2],
        }
    }
}

/// What becomes of unknown and duplicate fields, besides that they are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing is said.
    Ignore,
    /// Each is a warning.
    #[default]
    Warn,
    /// They are an error.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter `fieldValidation`; empty is `Warn`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            "Strict" => Some(FieldValidation::Strict),
            _ => None,
        }
    }
}

/// What a body shall be.
#[derive(Clone, Debug)]
pub struct Shape<'a> {
    /// The arena of the type.
    pub schema: &'a Schema,
    /// The type.
    pub ty: TypeId,
    /// The kind that stands in `apiVersion` and `kind`.
    pub kind: GroupVersionKind,
    /// What is known of a custom kind: its objects are read along its own schema.
    pub custom: Option<&'a Custom>,
}

impl<'a> From<&'a Resource> for Shape<'a> {
    fn from(resource: &'a Resource) -> Self {
        Shape {
            schema: resource.schema(),
            ty: resource.ty,
            kind: resource.group_version_kind(),
            custom: resource.custom.as_deref(),
        }
    }
}

impl<'a> From<&'a Subresource> for Shape<'a> {
    fn from(subresource: &'a Subresource) -> Self {
        Shape {
            schema: Schema::builtin(),
            ty: subresource.ty,
            kind: subresource.kind.clone(),
            custom: None,
        }
    }
}

impl Shape<'static> {
    /// The shape of a built-in kind, such as `DeleteOptions` in `v1`.
    #[must_use]
    pub fn builtin(kind: GroupVersionKind) -> Option<Self> {
        Some(Shape {
            schema: Schema::builtin(),
            ty: builtin_type(&kind)?,
            kind,
            custom: None,
        })
    }
}

/// An object that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The object, with `apiVersion` and `kind`.
    pub value: Value,
    /// What to warn of.
    pub warnings: Vec<String>,
}

/// Reads a whole object.
///
/// # Errors
/// `BadRequest` when the bytes aren't such an object.
pub fn decode(
    bytes: &[u8],
    content: ContentType,
    shape: &Shape<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    read_body(bytes, content, shape, validation, false)
}

/// Reads a part of an object, such as what server-side apply is sent: as [`decode`], but nothing is left out or added
/// that the sender didn't leave out or write.
///
/// # Errors
/// `BadRequest` when the bytes aren't such an object.
pub fn decode_sparse(
    bytes: &[u8],
    content: ContentType,
    shape: &Shape<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    read_body(bytes, content, shape, validation, true)
}

/// Reads a body of whatever kind it says that it is, for those who only look at it: nothing is checked, left out or added.
/// None when it can't be read.
#[must_use]
pub fn decode_any(bytes: &[u8], content: ContentType) -> Option<Value> {
    match content {
        ContentType::Json => serde_json::from_slice(bytes).ok(),
        ContentType::Yaml => yaml::parse(bytes).ok(),
        ContentType::Protobuf => {
            let (api_version, kind) = protobuf::kind_of(bytes)?;
            let group_version = GroupVersion::parse(&api_version).ok()?;
            let ty = builtin_type(&group_version.with_kind(kind.as_str()))?;
            let (_, mut value) = protobuf::decode(Schema::builtin(), ty, bytes).ok()?;
            let object = value.as_object_mut()?;
            object.insert("apiVersion".to_owned(), api_version.into());
            object.insert("kind".to_owned(), kind.into());
            Some(value)
        }
    }
}

/// Brings a tree into the same form as [`decode`] does: what a patch has made of an object.
///
/// # Errors
/// `BadRequest` when the tree isn't such an object.
pub fn conform(value: Value, shape: &Shape<'_>, validation: FieldValidation) -> Result<Decoded, Status> {
    if let Some(custom) = shape.custom {
        return finish(
            custom::conform(value, Vec::new(), custom, false),
            shape,
            validation,
            b"",
        );
    }
    let outcome = read::from_value(shape.schema, shape.ty, value, false);
    finish(outcome, shape, validation, b"")
}

fn read_body(
    bytes: &[u8],
    content: ContentType,
    shape: &Shape<'_>,
    validation: FieldValidation,
    sparse: bool,
) -> Result<Decoded, Status> {
    let twice = match content {
        ContentType::Yaml if validation != FieldValidation::Ignore && !is_json(bytes) => yaml::duplicates(bytes),
        _ => None,
    };
    let with_twice = |mut read: read::Read| {
        read.problems.splice(0..0, twice);
        read
    };
    if let Some(custom) = shape.custom {
        let outcome = custom::read(bytes, content, custom, sparse)?;
        return finish(outcome.map(with_twice), shape, validation, bytes);
    }
    match content {
        ContentType::Json => finish(
            read::from_json(shape.schema, shape.ty, bytes, sparse),
            shape,
            validation,
            bytes,
        ),
        ContentType::Yaml => {
            // Clients send JSON as YAML, which it is, and which is read far faster as what it is.
            if is_json(bytes)
                && let Ok(read) = read::from_json(shape.schema, shape.ty, bytes, sparse)
            {
                return finish(Ok(read), shape, validation, bytes);
            }
            let outcome = yaml::parse(bytes).and_then(|value| read::from_value(shape.schema, shape.ty, value, sparse));
            finish(outcome.map(with_twice), shape, validation, bytes)
        }
        ContentType::Protobuf => {
            let unrecognized = |why: String| problem::unrecognized(shape, &why, bytes);
            let (kind, mut value) = protobuf::decode(shape.schema, shape.ty, bytes).map_err(unrecognized)?;
            if let Value::Object(object) = &mut value {
                object.insert("apiVersion".to_owned(), kind.0.into());
                object.insert("kind".to_owned(), kind.1.into());
            }
            check_kind(&mut value, shape)?;
            Ok(Decoded {
                value,
                warnings: Vec::new(),
            })
        }
    }
}

/// Whether a body can only be JSON, which is YAML too.
fn is_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

fn finish(
    outcome: Result<read::Read, read::Failure>,
    shape: &Shape<'_>,
    validation: FieldValidation,
    bytes: &[u8],
) -> Result<Decoded, Status> {
    let mut read = outcome.map_err(|failure| match failure {
        read::Failure::Syntax(why) => problem::unrecognized(
            shape,
            &format!("couldn't get version/kind; json parse error: {why}"),
            bytes,
        ),
        read::Failure::Type(why) => problem::cannot_be_handled(shape, &why),
    })?;
    check_kind(&mut read.value, shape)?;
    let warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => read.problems,
        FieldValidation::Strict if read.problems.is_empty() => Vec::new(),
        FieldValidation::Strict => {
            let why = format!("strict decoding error: {}", read.problems.join(", "));
            return Err(problem::cannot_be_handled(shape, &why));
        }
    };
    Ok(Decoded {
        value: read.value,
        warnings,
    })
}

/// Checks `apiVersion` and `kind`, and writes them where they are missing.
fn check_kind(value: &mut Value, shape: &Shape<'_>) -> Result<(), Status> {
    let Value::Object(object) = value else {
        return Err(problem::cannot_be_handled(shape, "not an object"));
    };
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let expected = shape.kind.api_version();
    if !api_version.is_empty() && api_version != expected && !problem::is_common(shape) {
        let group_version = GroupVersion::parse(api_version).map_err(Status::bad_request)?;
        let is_known = builtin_type(&group_version.with_kind(kind)).is_some();
        return Err(problem::other_version(shape, api_version, kind, is_known));
    }
    if !kind.is_empty() && kind != shape.kind.kind {
        return Err(problem::other_kind(shape, kind));
    }
    // A watch event has no kind of its own.
    let body = shape.schema.get_struct(shape.ty);
    if body.is_some_and(|body| body.field("kind").is_none() && !body.preserve_unknown) {
        object.remove("apiVersion");
        object.remove("kind");
    } else if kind.is_empty() || api_version.is_empty() {
        object.insert("apiVersion".to_owned(), expected.into());
        object.insert("kind".to_owned(), shape.kind.kind.clone().into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
