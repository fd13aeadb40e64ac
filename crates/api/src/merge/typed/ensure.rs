//! Completes a field set by the structs on its paths: who owns a field of a struct is taken to own the struct too when
//! fields are pruned, though no set says so.

use super::shape::Shape;
use crate::merge::fields::{Element, FieldSet};
use crate::schema::{Schema, Type, TypeId};

/// The set, and each named field on the way to its members.
pub(crate) fn ensure_named(schema: &Schema, ty: TypeId, set: &FieldSet) -> FieldSet {
    level(schema, Some(ty), set)
}

fn level(schema: &Schema, ty: Option<TypeId>, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::new();
    for node in set.nodes() {
        let (child, named) = match (&node.element, ty) {
            (Element::Field(name), Some(ty)) => match any_shape(schema, ty).and_then(|shape| shape.child(name)) {
                Some((child, named)) => (Some(child), named),
                None => (None, false),
            },
            (Element::Key(_), Some(ty)) => match schema.get(ty) {
                Type::List(list) => (Some(list.element), false),
                _ => (None, false),
            },
            _ => (None, false),
        };
        let member = node.member || (named && !node.children.is_empty());
        out.push_node(&node.element, member, level(schema, child, &node.children));
    }
    out
}

/// The shape of a struct or map, also of an atomic one.
fn any_shape(schema: &Schema, ty: TypeId) -> Option<Shape<'_>> {
    match schema.get(ty) {
        Type::Struct(body) => Some(Shape::Fields(body)),
        Type::Map(map) => Some(Shape::Entries(map)),
        _ => None,
    }
}
