//! Which fields an applied configuration claims: its leaves, the items of its lists and maps, and what it says is empty
//! or null. A struct's own path is not claimed by its fields.

use serde_json::Value;

use super::shape::{Shape, item_element};
use crate::merge::fields::{Element, FieldSet, Node};
use crate::schema::{List, Schema, TypeId};

/// The fields that a configuration claims. Items without a key are left out: validation has reported them.
pub(crate) fn fields_of(schema: &Schema, ty: TypeId, value: &Value) -> FieldSet {
    node(schema, ty, value).1
}

/// Whether the path itself is claimed by what is at it, and what is claimed below.
fn node(schema: &Schema, ty: TypeId, value: &Value) -> (bool, FieldSet) {
    match (Shape::of(schema, ty), value) {
        (Shape::Leaf, _) => (true, FieldSet::new()),
        (Shape::Items(list), Value::Array(values)) => (false, list_items(schema, list, values)),
        (shape @ (Shape::Fields(_) | Shape::Entries(_)), Value::Object(map)) => {
            let mut nodes = Vec::with_capacity(map.len());
            for (name, value) in map {
                let Some((ty, named)) = shape.child(name) else { continue };
                let (claimed, children) = self::node(schema, ty, value);
                let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                let member = claimed || empty || !named;
                if member || !children.is_empty() {
                    nodes.push(Node {
                        element: Element::field(name),
                        member,
                        children,
                    });
                }
            }
            (false, FieldSet::from_nodes(nodes))
        }
        _ => (false, FieldSet::new()),
    }
}

/// The items of a list. Of duplicates only the item is claimed, nothing in it.
fn list_items(schema: &Schema, list: &List, values: &[Value]) -> FieldSet {
    let mut all: Vec<(Element, &Value)> = values
        .iter()
        .filter_map(|value| Some((item_element(schema, list, value).ok()?, value)))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out = FieldSet::new();
    for twins in all.chunk_by_mut(|a, b| a.0 == b.0) {
        let children = match twins {
            [(_, value)] => node(schema, list.element, value).1,
            _ => FieldSet::new(),
        };
        out.push_node(&twins[0].0, true, children);
    }
    out
}
