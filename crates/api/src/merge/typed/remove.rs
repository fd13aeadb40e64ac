//! Takes fields and items out of an object. What is emptied by that becomes null: to a reader of the object the same as
//! absent, to ownership still a field.

use serde_json::Value;

use super::shape::{Shape, item_element};
use crate::merge::fields::{Element, FieldSet};
use crate::schema::{Schema, TypeId};

/// Removes the members of a set from an object.
pub(crate) fn remove(schema: &Schema, ty: TypeId, value: &mut Value, set: &FieldSet) {
    if set.is_empty() {
        return;
    }
    match (Shape::of(schema, ty), &mut *value) {
        (shape @ (Shape::Fields(_) | Shape::Entries(_)), Value::Object(map)) => {
            for node in set.nodes() {
                let Element::Field(name) = &node.element else { continue };
                if node.member {
                    map.remove(name.as_str());
                } else if let Some(child) = map.get_mut(name.as_str())
                    && let Some((ty, _)) = shape.child(name)
                {
                    remove(schema, ty, child, &node.children);
                }
            }
            if map.is_empty() {
                *value = Value::Null;
            }
        }
        (Shape::Items(list), Value::Array(items)) => {
            items.retain_mut(|item| {
                let Ok(element) = item_element(schema, list, item) else {
                    return true;
                };
                match set.get(&element) {
                    Some(node) if node.member => false,
                    Some(node) => {
                        remove(schema, list.element, item, &node.children);
                        true
                    }
                    None => true,
                }
            });
            if items.is_empty() {
                *value = Value::Null;
            }
        }
        (Shape::Leaf, Value::Object(_) | Value::Array(_)) => *value = Value::Null,
        (Shape::Leaf, _) => {}
        _ => *value = Value::Null,
    }
}
