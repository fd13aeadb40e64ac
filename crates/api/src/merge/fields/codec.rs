//! FieldsV1, the wire form of a field set: an object whose keys are path elements and in which `.` marks a node with
//! children as a member itself. Elements of an unknown kind are dropped, as Kubernetes does.

use serde_json::{Map, Value};

use super::element::{Element, ElementError};
use super::set::{FieldSet, Node};

/// Why a value isn't FieldsV1.
#[derive(Debug, thiserror::Error)]
pub enum FieldsError {
    /// Something else where an object belongs.
    #[error("expected an object in fieldsV1, got {0}")]
    NotAnObject(&'static str),
    /// A key that isn't a path element.
    #[error("parsing key as path element: {0}")]
    BadElement(String),
}

/// Writes a set as FieldsV1.
pub fn encode(set: &FieldSet) -> Value {
    Value::Object(encode_level(set, false))
}

fn encode_level(set: &FieldSet, is_member: bool) -> Map<String, Value> {
    let mut out = Map::new();
    if is_member && !set.is_empty() {
        out.insert(".".into(), Value::Object(Map::new()));
    }
    for node in set.nodes() {
        out.insert(
            node.element.text(),
            Value::Object(encode_level(&node.children, node.member)),
        );
    }
    out
}

/// Reads FieldsV1.
pub fn decode(value: &Value) -> Result<FieldSet, FieldsError> {
    decode_level(value).map(|(set, _)| set)
}

/// The paths below, and whether the node itself is a member.
fn decode_level(value: &Value) -> Result<(FieldSet, bool), FieldsError> {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok((FieldSet::new(), true)),
        other => return Err(FieldsError::NotAnObject(crate::merge::go_text::json_kind(other))),
    };
    let mut member = false;
    let mut nodes = Vec::with_capacity(map.len());
    for (key, child) in map {
        if key == "." {
            member = true;
            continue;
        }
        let element = match Element::parse(key) {
            Ok(element) => element,
            Err(ElementError::Unknown) => continue,
            Err(ElementError::Bad(reason)) => return Err(FieldsError::BadElement(reason)),
        };
        let (children, member) = decode_level(child)?;
        nodes.push(Node {
            element,
            member,
            children,
        });
    }
    let member = member || nodes.is_empty();
    Ok((FieldSet::from_nodes(nodes), member))
}

/// Whether FieldsV1 has anything at or below a path of the set, found without decoding it. Expects the form that
/// [`encode`] writes; says yes too often rather than too rarely.
pub(crate) fn touches(fields: &Value, set: &FieldSet) -> bool {
    touches_level(fields, set, &mut String::new())
}

fn touches_level(fields: &Value, set: &FieldSet, text: &mut String) -> bool {
    let Value::Object(map) = fields else { return false };
    set.nodes().iter().any(|node| {
        text.clear();
        node.element.write(text);
        map.get(text.as_str())
            .is_some_and(|child| node.member || touches_level(child, &node.children, text))
    })
}
