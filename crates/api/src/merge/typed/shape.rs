//! What a type is to server-side apply: a leaf with one owner, or something that it sees into. And how an item of a list
//! is named in a path.

use serde_json::Value;

use crate::merge::fields::{Element, KeyField, Scalar};
use crate::schema::{List, ListType, Map, MapType, Schema, Struct, Type, TypeId};

/// What a type is to server-side apply.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// One value with one owner: a scalar, anything atomic, anything without a schema.
    Leaf,
    /// A list whose items have owners of their own.
    Items(&'a List),
    /// A struct whose fields have owners of their own.
    Fields(&'a Struct),
    /// A map whose entries have owners of their own.
    Entries(&'a Map),
}

/// What an object is that no schema describes.
static DEDUCED: Map = Map {
    value: TypeId::DEDUCED,
    map_type: MapType::Granular,
};

impl<'a> Shape<'a> {
    /// The shape of a type.
    pub(super) fn of(schema: &'a Schema, ty: TypeId) -> Self {
        match schema.get(ty) {
            Type::List(list) if list.list_type != ListType::Atomic => Self::Items(list),
            Type::Struct(body) if body.map_type == MapType::Granular => Self::Fields(body),
            Type::Map(map) if map.map_type == MapType::Granular => Self::Entries(map),
            Type::Deduced => Self::Entries(&DEDUCED),
            _ => Self::Leaf,
        }
    }

    /// The type of a field or entry, and whether the schema names the field.
    pub(super) fn child(&self, name: &str) -> Option<(TypeId, bool)> {
        match self {
            Self::Fields(body) => match body.field(name) {
                Some(field) => Some((field.ty, true)),
                None => body.preserve_unknown.then_some((TypeId::DEDUCED, false)),
            },
            Self::Entries(map) => Some((map.value, false)),
            Self::Leaf | Self::Items(_) => None,
        }
    }
}

/// The path element of a list's item: its keys, with their defaults where it leaves them out, or its value.
pub(super) fn item_element(schema: &Schema, list: &List, item: &Value) -> Result<Element, String> {
    if list.list_type == ListType::Map {
        keyed_element(schema, list, item)
    } else {
        set_element(item)
    }
}

fn keyed_element(schema: &Schema, list: &List, item: &Value) -> Result<Element, String> {
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut fields = Vec::with_capacity(list.keys.len());
    for key in &list.keys {
        let value = match map.get(&**key) {
            Some(value) => Some(Scalar::from_value(value)),
            None => default_of(schema, list.element, key).map(Scalar::from_value),
        };
        if let Some(value) = value {
            fields.push(KeyField {
                name: (&**key).into(),
                value,
            });
        }
    }
    if fields.is_empty() {
        let keys: Vec<String> = list.keys.iter().map(|key| meta::quote(key)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            keys.join(" ")
        ));
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Element::Key(fields.into()))
}

fn default_of<'a>(schema: &'a Schema, element: TypeId, key: &str) -> Option<&'a Value> {
    schema.get_struct(element)?.field(key)?.default.as_ref()
}

fn set_element(item: &Value) -> Result<Element, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
        scalar => Ok(Element::Value(Scalar::from_value(scalar))),
    }
}

/// The items of a value that should be a list; null and everything else have none.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
