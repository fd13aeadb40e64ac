//! JSON into the interpreter's values and back, and the interpreter's errors in Kubernetes' words.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::ExecutionError;
use kube_cel::cel::objects::{Key, Map, Value as Cel};
use serde_json::{Map as Object, Value};

use super::rewrite::TYPE;

/// A JSON tree as expressions see it.
pub(super) fn from_json(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cel::Int(number),
            (None, Some(number)) => Cel::UInt(number),
            (None, None) => Cel::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(from_json).collect())),
        Value::Object(object) => {
            let entries = object
                .iter()
                .map(|(key, value)| (Key::from(key.as_str()), from_json(value)));
            Cel::Map(Map {
                map: Arc::new(entries.collect::<HashMap<_, _>>()),
            })
        }
    }
}

/// A value as JSON. Struct literals must have the types that their places say.
pub(super) fn to_json(value: &Cel) -> Result<Value, String> {
    json(value, None)
}

fn json(value: &Cel, place: Option<&str>) -> Result<Value, String> {
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(flag) => Value::Bool(*flag),
        Cel::Int(number) => (*number).into(),
        Cel::UInt(number) => (*number).into(),
        Cel::Float(number) => (*number).into(),
        Cel::String(text) => Value::String(text.to_string()),
        Cel::List(list) => {
            let items = list.iter().map(|item| json(item, place));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Cel::Map(map) => object(map, place)?,
        other => return Err(format!("a value of type {} can't be written as JSON", type_name(other))),
    })
}

fn object(map: &Map, place: Option<&str>) -> Result<Value, String> {
    let name = match map.get(&Key::from(TYPE)) {
        Some(Cel::String(name)) => Some(name.to_string()),
        _ => None,
    };
    if let (Some(name), Some(place)) = (&name, place)
        && name.starts_with("Object")
        && name != place
    {
        return Err(format!(
            "type mismatch: unexpected type name {name:?}, expected {place:?}, which matches field name path from root Object type"
        ));
    }
    let mut out = Object::new();
    for (key, value) in map.map.iter() {
        let key = key.to_string();
        if key == TYPE {
            continue;
        }
        let inner = name
            .as_ref()
            .filter(|name| name.starts_with("Object"))
            .map(|name| format!("{name}.{key}"));
        out.insert(key, json(value, inner.as_deref())?);
    }
    Ok(Value::Object(out))
}

/// What Kubernetes calls the type of a value.
pub(super) fn type_name(value: &Cel) -> &'static str {
    match value {
        Cel::List(_) => "list",
        Cel::Map(_) => "map",
        Cel::Int(_) => "int",
        Cel::UInt(_) => "uint",
        Cel::Float(_) => "double",
        Cel::String(_) => "string",
        Cel::Bytes(_) => "bytes",
        Cel::Bool(_) => "bool",
        Cel::Null => "null_type",
        _ => "dyn",
    }
}

/// Why an expression has no value.
pub(super) fn told(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::NoSuchOverload
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedUnaryOperator(..)
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::UnexpectedType { .. } => "no such overload".to_owned(),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(Cel::Int(index)) => format!("index out of bounds: {index}"),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        ExecutionError::UndeclaredReference(name) => format!("no such attribute(s): {name}"),
        other => other.to_string(),
    }
}
