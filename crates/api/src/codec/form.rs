//! The form in which Go's types are written: which empty values are left out, which are written though nobody sent them.

use serde_json::{Map, Value};

use crate::schema::{Field, Presence, Schema, Struct, Type, TypeId};

/// Whether a value that was sent is kept.
pub(super) fn is_kept(schema: &Schema, field: &Field, value: &Value) -> bool {
    let is_struct = || matches!(schema.get(field.ty), Type::Struct(_));
    match field.presence {
        Presence::Pointer => true,
        Presence::Always => !value.is_null(),
        Presence::OmitEmpty => !is_empty(value) || is_struct() && value.is_object(),
        Presence::OmitZero => !is_empty(value),
    }
}

/// Writes what Go writes of fields that weren't sent: structs that aren't pointers (a quantity is one), and zero values
/// without `omitempty`.
/// (Go writes missing lists and maps as null there; those are left out.)
pub(super) fn fill(schema: &Schema, body: &Struct, object: &mut Map<String, Value>) {
    for field in &body.fields {
        if matches!(field.presence, Presence::Pointer | Presence::OmitZero) {
            continue;
        }
        let ty = schema.get(field.ty);
        if field.presence == Presence::OmitEmpty && !matches!(ty, Type::Struct(_) | Type::Quantity)
            || object.contains_key(&*field.name)
        {
            continue;
        }
        if let Some(zero) = zero(schema, field.ty) {
            object.insert(field.name.clone().into_owned(), zero);
        }
    }
}

/// The zero value that Go writes for a type; none where it is null.
pub(super) fn zero(schema: &Schema, ty: TypeId) -> Option<Value> {
    match schema.get(ty) {
        Type::String => Some(Value::String(String::new())),
        Type::Bool => Some(Value::Bool(false)),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Some(Value::from(0)),
        Type::Quantity => Some(Value::from("0")),
        Type::Duration => Some(Value::from("0s")),
        Type::Struct(body) => {
            let mut object = Map::new();
            fill(schema, body, &mut object);
            Some(Value::Object(object))
        }
        Type::Bytes | Type::Time | Type::MicroTime | Type::Any | Type::Deduced | Type::List(_) | Type::Map(_) => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}
