//! Brings a stored field set up to date with a schema that has changed since: what has become atomic is owned as a whole.
//! The way back, from atomic to granular, needs nothing: the set is read as if it had always been granular.

use std::borrow::Cow;

use super::shape::Shape;
use crate::merge::fields::{Element, FieldSet};
use crate::schema::{List, ListType, Map, MapType, Schema, Struct, Type, TypeId};

/// The set as the schema sees it today, which is mostly the set itself.
pub(crate) fn reconcile<'a>(schema: &Schema, ty: TypeId, set: &'a FieldSet) -> Cow<'a, FieldSet> {
    if is_current(schema, ty, set) {
        Cow::Borrowed(set)
    } else {
        Cow::Owned(rebuild(schema, ty, set))
    }
}

/// Whether nothing in the set is below what is atomic today.
fn is_current(schema: &Schema, ty: TypeId, set: &FieldSet) -> bool {
    set.nodes().iter().filter(|node| !node.children.is_empty()).all(|node| {
        child_type(schema, ty, &node.element)
            .is_none_or(|child| !is_atomic(schema, child) && is_current(schema, child, &node.children))
    })
}

fn rebuild(schema: &Schema, ty: TypeId, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::new();
    for node in set.nodes() {
        let child = child_type(schema, ty, &node.element);
        let becomes_leaf = !node.children.is_empty() && child.is_some_and(|child| is_atomic(schema, child));
        let children = match child {
            _ if becomes_leaf => FieldSet::new(),
            Some(child) => rebuild(schema, child, &node.children),
            None => node.children.clone(),
        };
        out.push_node(&node.element, node.member || becomes_leaf, children);
    }
    out
}

fn child_type(schema: &Schema, ty: TypeId, element: &Element) -> Option<TypeId> {
    match (schema.get(ty), element) {
        (Type::List(List { element, .. }), _) => Some(*element),
        (Type::Struct(_) | Type::Map(_), Element::Field(name)) => {
            Shape::of(schema, ty).child(name).map(|(child, _)| child)
        }
        _ => None,
    }
}

fn is_atomic(schema: &Schema, ty: TypeId) -> bool {
    matches!(
        schema.get(ty),
        Type::Any
            | Type::List(List {
                list_type: ListType::Atomic,
                ..
            })
            | Type::Struct(Struct {
                map_type: MapType::Atomic,
                ..
            })
            | Type::Map(Map {
                map_type: MapType::Atomic,
                ..
            })
    )
}
