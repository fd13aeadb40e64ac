//! The empty object of a type, as a Go server has it in memory: structs that are held by value are there without being
//! sent. Creation is compared with it, so that nobody comes to own what is always there.

use serde_json::{Map, Value};

use crate::schema::{Presence, Schema, Struct, Type, TypeId};

/// The empty object of a type.
pub(crate) fn skeleton(schema: &Schema, ty: TypeId) -> Value {
    schema
        .get_struct(ty)
        .map_or_else(|| Value::Object(Map::new()), |body| Value::Object(fields(schema, body)))
}

fn fields(schema: &Schema, body: &Struct) -> Map<String, Value> {
    let mut out = Map::new();
    for field in &body.fields {
        let value = match (schema.get(field.ty), field.presence) {
            (_, Presence::Pointer | Presence::OmitZero) => continue,
            (Type::Struct(body), _) => Value::Object(fields(schema, body)),
            (_, Presence::OmitEmpty) => continue,
            (Type::String, Presence::Always) => Value::String(String::new()),
            (Type::Bool, Presence::Always) => Value::Bool(false),
            (Type::Int32 | Type::Int64 | Type::Double, Presence::Always) => Value::from(0),
            (_, Presence::Always) => Value::Null,
        };
        out.insert(field.name.to_string(), value);
    }
    out
}
