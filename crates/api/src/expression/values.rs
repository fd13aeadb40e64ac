//! What expressions come to, as JSON.

use cel::{Map, Value as Cel};
use serde_json::{Map as Object, Value};

/// A value as JSON. Struct literals must have the types that their places say.
pub(super) fn to_json(value: &Cel) -> Result<Value, String> {
    json(value, None)
}

fn json(value: &Cel, place: Option<&str>) -> Result<Value, String> {
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(flag) => Value::Bool(*flag),
        Cel::Int(number) => (*number).into(),
        Cel::Uint(number) => (*number).into(),
        Cel::Double(number) => (*number).into(),
        Cel::String(text) => Value::String(text.to_string()),
        Cel::Timestamp(time) => Value::String(time.to_string()),
        Cel::List(list) => {
            let items = list.iter().map(|item| json(item, place));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Cel::Map(map) => object(map, place)?,
        other => {
            let name = other.type_name();
            return Err(format!("a value of type {name} can't be written as JSON"));
        }
    })
}

fn object(map: &Map, place: Option<&str>) -> Result<Value, String> {
    let name = map.name.as_deref();
    if let (Some(name), Some(place)) = (name, place)
        && name.starts_with("Object")
        && name != place
    {
        return Err(format!(
            "type mismatch: unexpected type name {name:?}, expected {place:?}, which matches field name path from root Object type"
        ));
    }
    let mut out = Object::new();
    for (key, value) in &map.entries {
        let key = key.to_string();
        let inner = name.filter(|name| name.starts_with("Object"));
        let inner = inner.map(|name| format!("{name}.{key}"));
        let value = json(value, inner.as_deref())?;
        out.insert(key, value);
    }
    Ok(Value::Object(out))
}
