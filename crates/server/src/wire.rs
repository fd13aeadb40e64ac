//! The formats on the wire, by the schema table: JSON, YAML and protobuf into trees, and bytes from one into another.

use api::schema::Schema;
use bytes::Bytes;
use meta::Status;
use serde_json::Value;

use crate::http::negotiate::{JSON, Wire};
use crate::kinds::Kind;
use crate::rest::options::FieldValidation;

/// The table of all built-in types.
pub(crate) fn schema() -> &'static Schema {
    Schema::builtin()
}

/// A body as an object of a kind, with warnings about what was dropped.
pub(crate) fn decode(
    bytes: &[u8],
    wire: Wire,
    kind: &Kind,
    _validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let mut tree = parse(bytes, wire)?;
    if !tree.is_object() {
        return Err(Status::bad_request("the body is no object"));
    }
    tree["apiVersion"] = kind.api_version.clone().into();
    tree["kind"] = kind.row.kind.to_string().into();
    Ok((tree, Vec::new()))
}

/// A tree as if it had been sent.
pub(crate) fn reshape(tree: &Value, kind: &Kind, validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
    let bytes = serde_json::to_vec(tree).map_err(Status::internal)?;
    decode(&bytes, Wire::Json, kind, validation)
}

/// A body as an object of a kind that need not be a resource of its own.
pub(crate) fn decode_as(bytes: &[u8], wire: Wire, _api_version: &str, _kind: &str) -> Result<Value, Status> {
    parse(bytes, wire)
}

/// YAML or JSON as it is.
pub(crate) fn any_tree(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn parse(bytes: &[u8], wire: Wire) -> Result<Value, Status> {
    match wire {
        Wire::Json => serde_json::from_slice(bytes).map_err(|error| Status::bad_request(error.to_string())),
        _ => Err(Status::unsupported_media_type(&[JSON])),
    }
}

pub(crate) fn yaml(_json: &[u8]) -> Result<Bytes, Status> {
    Err(Status::not_acceptable(&[JSON]))
}

pub(crate) fn protobuf(_json: &[u8]) -> Result<Bytes, Status> {
    Err(Status::not_acceptable(&[JSON]))
}

pub(crate) fn protobuf_event(_kind: &str, _object: &[u8]) -> Result<Bytes, Status> {
    Err(Status::not_acceptable(&[JSON]))
}
