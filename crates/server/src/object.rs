//! Objects between their two forms: the tree that rules work on, and the bytes that are stored.
//!
//! The stored form is compact JSON, `metadata` first, without `apiVersion`, `kind` and `metadata.resourceVersion`:
//! those are spliced in on the way out, because the revision isn't known before the commit. It is a released format.

use bytes::{BufMut as _, Bytes, BytesMut};
use meta::{Revision, Status};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::encryption::is_encrypted;

/// What every stored object begins with.
const HEAD: &[u8] = b"{\"metadata\":{";

/// The stored form of a tree.
pub(crate) fn to_stored(object: &Value) -> Result<Bytes, Status> {
    let Some(fields) = object.as_object() else {
        return Err(Status::internal("an object that is no JSON object"));
    };
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(HEAD);
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let mut first = true;
    for (key, value) in metadata.into_iter().flatten() {
        if !matches!(key.as_str(), "resourceVersion" | "selfLink") && !value.is_null() {
            entry(&mut out, &mut first, key, value)?;
        }
    }
    out.push(b'}');
    first = false;
    for (key, value) in fields {
        if !matches!(key.as_str(), "metadata" | "apiVersion" | "kind") && !value.is_null() {
            entry(&mut out, &mut first, key, value)?;
        }
    }
    out.push(b'}');
    // These bytes stay as long as the object does. Copied, because an allocator that shrinks in place keeps the room that
    // the vector grew by.
    Ok(Bytes::copy_from_slice(&out))
}

fn entry(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &Value) -> Result<(), Status> {
    if !std::mem::take(first) {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key).map_err(Status::internal)?;
    out.push(b':');
    serde_json::to_writer(&mut *out, value).map_err(Status::internal)
}

/// The tree of a stored object, complete with what was spliced out.
pub(crate) fn to_tree(api_version: &str, kind: &str, bytes: &[u8], revision: Revision) -> Result<Value, Status> {
    if is_encrypted(bytes) {
        return Err(Status::internal("an object can't be decrypted"));
    }
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(Status::internal)?;
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    let mut object = Value::Object(fields);
    set_revision(&mut object, revision);
    Ok(object)
}

/// Sets `metadata.resourceVersion`.
pub(crate) fn set_revision(object: &mut Value, revision: Revision) {
    object["metadata"]["resourceVersion"] = revision.to_string().into();
}

/// Appends an object as a client gets it; `head` is [`head_of`] its kind, or empty inside of lists.
pub(crate) fn splice(out: &mut BytesMut, head: &str, stored: &[u8], revision: Revision) {
    let rest = stored.strip_prefix(HEAD).unwrap_or_default();
    let (rest, mark) = unmarked(rest);
    out.reserve(head.len() + rest.len() + 64);
    out.put_u8(b'{');
    out.put_slice(head.as_bytes());
    out.put_slice(b"\"metadata\":{\"resourceVersion\":\"");
    put_number(out, revision.0);
    out.put_u8(b'"');
    if rest.first() != Some(&b'}') {
        out.put_u8(b',');
    }
    out.put_slice(rest);
    if mark.is_some() {
        out.put_u8(b'}');
    }
}

/// What stands before the version in the mark at the end of stored bytes.
const MARK: &[u8] = b",\"apiVersion\":\"";
/// No version is longer: a group and a version's name.
const MOST_MARK: usize = 330;

/// Stored bytes that say which version they are in. Only objects of definitions whose versions differ do.
pub(crate) fn marked(stored: Bytes, version: &str) -> Bytes {
    let (rest, mark) = unmarked(&stored);
    let rest = if mark.is_some() {
        rest
    } else {
        rest.strip_suffix(b"}").unwrap_or(rest)
    };
    let mut out = BytesMut::with_capacity(rest.len() + MARK.len() + version.len() + 2);
    out.put_slice(rest);
    out.put_slice(MARK);
    out.put_slice(version.as_bytes());
    out.put_slice(b"\"}");
    out.freeze()
}

/// The version that stored bytes say they are in.
pub(crate) fn mark_of(stored: &[u8]) -> Option<&str> {
    unmarked(stored).1
}

/// The bytes before the mark, and the mark. No other bytes end so: the field is always taken out of an object, and inside
/// of a text the quotes would be escaped.
fn unmarked(stored: &[u8]) -> (&[u8], Option<&str>) {
    let none = (stored, None);
    let Some(inner) = stored.strip_suffix(b"\"}") else {
        return none;
    };
    let from = inner.len().saturating_sub(MOST_MARK);
    let Some(quote) = inner[from..].iter().rposition(|byte| *byte == b'"') else {
        return none;
    };
    let quote = from + quote;
    let Some(body) = inner[..=quote].strip_suffix(MARK) else {
        return none;
    };
    match std::str::from_utf8(&inner[quote + 1..]) {
        Ok(version) => (body, Some(version)),
        Err(_) => none,
    }
}

/// An object as a client gets it.
pub(crate) fn spliced(head: &str, stored: &[u8], revision: Revision) -> Bytes {
    let mut out = BytesMut::new();
    splice(&mut out, head, stored, revision);
    out.freeze()
}

/// The beginning of every object of a kind.
pub(crate) fn head_of(api_version: &str, kind: &str) -> String {
    format!("\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",")
}

/// The metadata of a stored object alone, as bytes in the stored form again.
pub(crate) fn only_metadata(stored: &[u8]) -> Result<Bytes, Status> {
    #[derive(serde::Deserialize)]
    struct Only<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let only: Only<'_> = serde_json::from_slice(stored).map_err(Status::internal)?;
    let text = only.metadata.get();
    let mut out = BytesMut::with_capacity(text.len() + 14);
    out.put_slice(b"{\"metadata\":");
    out.put_slice(text.as_bytes());
    out.put_u8(b'}');
    Ok(out.freeze())
}

fn put_number(out: &mut BytesMut, number: u64) {
    use std::fmt::Write as _;
    // Writing into memory can't fail.
    let _ = write!(out, "{number}");
}

/// A text at a path of field names; empty when it isn't there.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    let mut at = object;
    for field in path {
        match at.get(field) {
            Some(value) => at = value,
            None => return "",
        }
    }
    at.as_str().unwrap_or_default()
}

/// `metadata.name`.
pub(crate) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// `metadata.namespace`.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.uid`.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// Whether a deletion has begun.
pub(crate) fn is_deleting(object: &Value) -> bool {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("deletionTimestamp"))
        .is_some_and(|time| !time.is_null())
}

/// `metadata.finalizers`.
pub(crate) fn finalizers(object: &Value) -> Vec<String> {
    let list = object
        .get("metadata")
        .and_then(|metadata| metadata.get("finalizers"))
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mark_says_the_version_and_is_never_shown() {
        let object = json!({"metadata": {"name": "x"}, "spec": {"apiVersion": "v1"}});
        let stored = to_stored(&object).unwrap();
        assert_eq!(mark_of(&stored), None);
        let once = marked(stored.clone(), "a.b/v1");
        assert_eq!(
            once,
            r#"{"metadata":{"name":"x"},"spec":{"apiVersion":"v1"},"apiVersion":"a.b/v1"}"#
        );
        assert_eq!(mark_of(&once), Some("a.b/v1"));
        assert_eq!(marked(once.clone(), "a.b/v2"), marked(stored.clone(), "a.b/v2"));
        let head = head_of("a.b/v1", "X");
        assert_eq!(spliced(&head, &once, Revision(3)), spliced(&head, &stored, Revision(3)));
        let text = json!({"metadata": {"name": "x"}, "z": ",\"apiVersion\":\"v1"});
        assert_eq!(mark_of(&to_stored(&text).unwrap()), None);
    }

    #[test]
    fn the_stored_form_is_frozen() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "x", "resourceVersion": "5", "uid": "u"},
        });
        let stored = to_stored(&object).unwrap();
        assert_eq!(stored, r#"{"metadata":{"name":"x","uid":"u"},"data":{"a":"b"}}"#);
        let out = spliced(&head_of("v1", "ConfigMap"), &stored, Revision(7));
        assert_eq!(
            out,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"x","uid":"u"},"data":{"a":"b"}}"#
        );
        assert_eq!(
            only_metadata(&stored).unwrap(),
            r#"{"metadata":{"name":"x","uid":"u"}}"#
        );
        let tree = to_tree("v1", "ConfigMap", &stored, Revision(5)).unwrap();
        assert_eq!(tree, object);
    }
}
