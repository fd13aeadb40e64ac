//! The formats on the wire, by the schema table: bodies into trees, and stored bytes into what a client reads.

use api::codec::{self, ContentType, FieldValidation, Shape, protobuf};
use api::schema::{Schema, TypeId};
use bytes::Bytes;
use meta::{GroupVersion, GroupVersionKind, Revision, Status};
use serde::Deserialize;
use serde_json::Value;

use crate::http::negotiate::{JSON, Wire, YAML};
use crate::kinds::Kind;

/// The table of all built-in types.
pub(crate) fn schema() -> &'static Schema {
    Schema::builtin()
}

fn content(wire: Wire) -> ContentType {
    match wire {
        Wire::Json => ContentType::Json,
        Wire::Yaml => ContentType::Yaml,
        Wire::Protobuf => ContentType::Protobuf,
    }
}

/// A body as an object of a kind, with warnings about what was dropped.
pub(crate) fn decode(
    bytes: &[u8],
    wire: Wire,
    kind: &Kind,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let decoded = codec::decode(bytes, content(wire), &Shape::from(&*kind.row), validation)?;
    Ok((decoded.value, decoded.warnings))
}

/// A tree as if it had been sent.
pub(crate) fn reshape(tree: &Value, kind: &Kind, validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
    let decoded = codec::conform(tree.clone(), &Shape::from(&*kind.row), validation)?;
    Ok((decoded.value, decoded.warnings))
}

/// A body as an object of a built-in kind that need not be a resource.
pub(crate) fn decode_as(bytes: &[u8], wire: Wire, api_version: &str, kind: &str) -> Result<Value, Status> {
    let group_version = GroupVersion::parse(api_version).map_err(Status::bad_request)?;
    let shape = Shape::builtin(group_version.with_kind(kind)).ok_or_else(Status::no_such_resource)?;
    Ok(codec::decode(bytes, content(wire), &shape, FieldValidation::Ignore)?.value)
}

/// An apply configuration as it was sent, what the schema doesn't know included.
pub(crate) fn configuration(bytes: &[u8], kind: &Kind) -> Result<Value, Status> {
    let shape = Shape {
        schema: schema(),
        ty: TypeId::ANY,
        kind: kind.row.group_version_kind(),
        custom: None,
    };
    Ok(codec::decode_sparse(bytes, ContentType::Yaml, &shape, FieldValidation::Ignore)?.value)
}

/// JSON as YAML.
pub(crate) fn yaml(json: &[u8]) -> Result<Bytes, Status> {
    let tree: Value = serde_json::from_slice(json).map_err(Status::internal)?;
    serde_saphyr::to_string(&tree)
        .map(Bytes::from)
        .map_err(Status::internal)
}

/// Any JSON that says of which built-in kind it is, as a protobuf body.
pub(crate) fn protobuf(json: &[u8]) -> Result<Bytes, Status> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        kind: String,
        api_version: String,
    }
    let head: Head = serde_json::from_slice(json).map_err(Status::internal)?;
    let group_version = GroupVersion::parse(&head.api_version).map_err(Status::internal)?;
    let kind: GroupVersionKind = group_version.with_kind(head.kind.as_str());
    let ty = api::resource::builtin_type(&kind).ok_or_else(|| Status::not_acceptable(&[JSON, YAML]))?;
    let message = protobuf::encode_json(schema(), ty, json).map_err(Status::internal)?;
    Ok(protobuf::envelope(&head.api_version, &head.kind, &message).into())
}

/// The message of a stored object, without revision and envelope.
pub(crate) fn message(kind: &Kind, stored: &[u8]) -> Result<Bytes, Status> {
    protobuf::encode_json(kind.row.schema(), kind.row.ty, stored)
        .map(Bytes::from)
        .map_err(Status::internal)
}

/// A whole protobuf body of a message.
pub(crate) fn body(kind: &Kind, message: &[u8], revision: Revision) -> Bytes {
    let mut message = message.to_vec();
    protobuf::add_resource_version(&mut message, &revision.to_string());
    protobuf::envelope(&kind.api_version, &kind.row.kind, &message).into()
}

/// An event of a watch around a whole body.
pub(crate) fn protobuf_event(event: &str, body: &[u8]) -> Bytes {
    protobuf::watch_frame(event, body).into()
}
