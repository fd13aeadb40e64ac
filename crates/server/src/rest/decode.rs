//! Bodies of requests as trees that fit the schema.

use api::codec::FieldValidation;
use meta::Status;
use serde_json::Value;

use super::Call;
use super::options::WriteOptions;
use crate::http::negotiate;
use crate::wire;

/// The body as an object of the resource's kind.
pub(crate) fn object(call: &Call, options: &WriteOptions) -> Result<Value, Status> {
    let wire = negotiate::content_type(&call.headers)?;
    let (object, warnings) = wire::decode(&call.body, wire, &call.kind, options.validation)?;
    warnings.into_iter().for_each(|warning| call.warn(warning));
    Ok(object)
}

/// A tree that was made here (by a patch) brought into the shape of its kind, as if it had been sent.
pub(crate) fn reshape(call: &Call, tree: &Value, validation: FieldValidation) -> Result<Value, Status> {
    let (object, warnings) = wire::reshape(tree, &call.kind, validation)?;
    warnings.into_iter().for_each(|warning| call.warn(warning));
    Ok(object)
}

/// The body as an object of another kind than the resource's own: a scale, a binding, an eviction.
pub(crate) fn other(call: &Call, api_version: &str, kind: &str) -> Result<Value, Status> {
    let wire = negotiate::content_type(&call.headers)?;
    wire::decode_as(&call.body, wire, api_version, kind)
}

/// The body of a deletion, if there is one.
pub(crate) fn tree(call: &Call) -> Result<Option<Value>, Status> {
    if call.body.is_empty() {
        return Ok(None);
    }
    other(call, "v1", "DeleteOptions").map(Some)
}
