//! Objects as rows: what `kubectl get` prints.

use bytes::Bytes;
use jiff::Timestamp;
use meta::{Revision, Status};
use serde_json::{Value, json};

use super::Call;
use crate::kinds::Kind;
use crate::object;

/// How much of each object goes along with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(call: &Call) -> Result<Include, Status> {
        match call.query.get("includeObject") {
            None | Some("Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::None),
            Some("Object") => Ok(Include::Object),
            Some(other) => Err(Status::bad_request(format!(
                "unrecognized includeObject value: {other:?}"
            ))),
        }
    }
}

/// A whole table; `metadata` is that of the list, or empty for one object.
pub(crate) fn table(kind: &Kind, metadata: Value, rows: Vec<Value>, with_columns: bool) -> Value {
    let columns = match with_columns {
        true => kind.rules.column_heads(),
        false => Vec::new(),
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// One object's row.
pub(crate) fn row(kind: &Kind, stored: &[u8], revision: Revision, include: Include) -> Result<Value, Status> {
    let object = kind.tree(stored, revision)?;
    let cells = kind.rules.cells(&object, Timestamp::now());
    let shown = match include {
        Include::None => Value::Null,
        Include::Object => object,
        Include::Metadata => partial(&object),
    };
    Ok(json!({"cells": cells, "object": shown}))
}

/// The metadata of an object as an object of its own.
pub(crate) fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}

/// The beginning of a PartialObjectMetadata.
pub(crate) const PARTIAL_HEAD: &str = "\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",";

/// A stored object's metadata alone, as a client gets it.
pub(crate) fn partial_bytes(stored: &[u8], revision: Revision) -> Result<Bytes, Status> {
    Ok(object::spliced(PARTIAL_HEAD, &object::only_metadata(stored)?, revision))
}
