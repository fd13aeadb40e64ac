//! Kubernetes' protobuf form: messages by the table's tags, in an envelope (`k8s` and a zero byte, then
//! `runtime.Unknown`) that names the kind. Objects are encoded from JSON text without a tree between; lists, watch events
//! and revisions are put together from what was encoded before.

mod decode;
mod encode;
mod wire;

use meta::Status;
use serde_json::Value;

use crate::schema::{Schema, TypeId};

const MAGIC: &[u8] = b"k8s\0";

/// The message of an object that is JSON text, without envelope. What the type doesn't know is left out.
///
/// # Errors
/// When the text isn't JSON of that type.
pub fn encode_json(schema: &Schema, ty: TypeId, json: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(json.len());
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    encode::object(schema, ty, &mut deserializer, &mut out)?;
    Ok(out)
}

/// The message of an object that is a tree, without envelope.
///
/// # Errors
/// When the tree isn't of that type.
pub fn encode_value(schema: &Schema, ty: TypeId, value: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode::object(schema, ty, value, &mut out)?;
    Ok(out)
}

/// Why an object can't be written as protobuf: what is stored isn't of its type.
#[derive(Debug, thiserror::Error)]
#[error("can't be written as protobuf: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

/// A message in its envelope: a whole body.
#[must_use]
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + api_version.len() + kind.len() + 24);
    out.extend_from_slice(MAGIC);
    let start = wire::open(&mut out, 1);
    wire::text(&mut out, 1, api_version);
    wire::text(&mut out, 2, kind);
    wire::close(&mut out, start);
    wire::bytes(&mut out, 2, message);
    wire::text(&mut out, 3, "");
    wire::text(&mut out, 4, "");
    out
}

/// Adds a revision to an object's message: the same field again, which readers merge into the first one.
pub fn add_resource_version(message: &mut Vec<u8>, revision: &str) {
    let start = wire::open(message, 1);
    wire::text(message, 6, revision);
    wire::close(message, start);
}

/// What a list has besides its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The revision that it shows.
    pub resource_version: String,
    /// Where the next part begins, when there is one.
    pub continue_token: String,
    /// About how many items follow, when that is known.
    pub remaining: Option<i64>,
}

/// Begins a list's message; items follow by [`add_item`].
#[must_use]
pub fn list(meta: &ListMeta) -> Vec<u8> {
    let mut out = Vec::new();
    let start = wire::open(&mut out, 1);
    wire::text(&mut out, 1, "");
    wire::text(&mut out, 2, &meta.resource_version);
    wire::text(&mut out, 3, &meta.continue_token);
    if let Some(remaining) = meta.remaining {
        wire::number(&mut out, 4, remaining.cast_unsigned());
    }
    wire::close(&mut out, start);
    out
}

/// Adds an item, a message without envelope, to a list's message.
pub fn add_item(list: &mut Vec<u8>, revision: Option<&str>, item: &[u8]) {
    let start = wire::open(list, 2);
    list.extend_from_slice(item);
    if let Some(revision) = revision {
        add_resource_version(list, revision);
    }
    wire::close(list, start);
}

/// A frame of a watch: the length, then a `WatchEvent` whose object is a whole body with its envelope.
#[must_use]
pub fn watch_frame(event: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + event.len() + 24);
    out.extend_from_slice(&[0; 4]);
    wire::text(&mut out, 1, event);
    let start = wire::open(&mut out, 2);
    wire::bytes(&mut out, 1, body);
    wire::close(&mut out, start);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// A `Status` as a whole body.
#[must_use]
pub fn status(status: &Status) -> Vec<u8> {
    let schema = Schema::builtin();
    let ty = schema.named("io.k8s.apimachinery.pkg.apis.meta.v1.Status");
    let message = ty.and_then(|ty| encode_value(schema, ty, &status.to_value()).ok());
    envelope("v1", "Status", &message.unwrap_or_default())
}

/// Reads a whole body: what its envelope says of it (apiVersion, kind), and the object.
///
/// # Errors
/// When the bytes aren't a body of that type; the text says why.
pub fn decode(schema: &Schema, ty: TypeId, bytes: &[u8]) -> Result<((String, String), Value), String> {
    let (api_version, kind, message) = decode::envelope(bytes)?;
    let value = decode::message(schema, ty, message)?;
    Ok(((api_version, kind), value))
}

/// What the envelope of a whole body says of it: apiVersion and kind.
#[must_use]
pub fn kind_of(bytes: &[u8]) -> Option<(String, String)> {
    decode::envelope(bytes)
        .ok()
        .map(|(api_version, kind, _)| (api_version, kind))
}

/// Reads a message without envelope.
///
/// # Errors
/// When the bytes aren't a message of that type; the text says why.
pub fn decode_message(schema: &Schema, ty: TypeId, bytes: &[u8]) -> Result<Value, String> {
    decode::message(schema, ty, bytes)
}
