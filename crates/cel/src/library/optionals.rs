//! Values that may be absent.

use std::sync::Arc;

use super::Table;
use crate::error::Error;
use crate::types::Type;
use crate::value::Value;

const A: Type = Type::Param('A');

pub(super) fn add(table: &mut Table) {
    let optional = Type::optional(A);
    table.global("optional.of", [A], optional.clone(), |a| Ok(Value::some(a[0].clone())));
    table.global("optional.none", [], optional.clone(), |_| Ok(Value::Optional(None)));
    table.global("optional.ofNonZeroValue", [A], optional.clone(), |a| {
        Ok(if is_zero(&a[0]) {
            Value::Optional(None)
        } else {
            Value::some(a[0].clone())
        })
    });
    table.method("hasValue", [optional.clone()], Type::Bool, |a| {
        Ok(Value::Bool(matches!(&a[0], Value::Optional(Some(_)))))
    });
    table.method("value", [optional.clone()], A, |a| match &a[0] {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        _ => Err(Error::other("optional.none() dereference")),
    });
    // The evaluator has its own of these: the other is asked only when the first is nothing.
    let own = |_: &[Value]| Err(Error::NoSuchOverload);
    table.method("or", [optional.clone(), optional.clone()], optional.clone(), own);
    table.method("orValue", [optional, A], A, own);
    table.global(
        "optional.unwrap",
        [Type::list(Type::optional(A))],
        Type::list(A),
        unwrapped,
    );
    table.method("unwrapOpt", [Type::list(Type::optional(A))], Type::list(A), unwrapped);
}

fn unwrapped(a: &[Value]) -> Result<Value, Error> {
    let mut there = Vec::new();
    for item in super::items(&a[0])?.iter() {
        match item {
            Value::Optional(inner) => there.extend(inner.as_deref().cloned()),
            _ => return Err(Error::NoSuchOverload),
        }
    }
    Ok(Value::list(there))
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(span) => span.is_zero(),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.entries.is_empty(),
        Value::Optional(inner) => inner.is_none(),
        Value::Timestamp(_) | Value::Type(_) | Value::Opaque(_) => false,
    }
}

/// `value.?field`.
pub(crate) fn field(value: &Value, name: &str) -> Result<Value, Error> {
    match value {
        Value::Map(map) => Ok(Value::Optional(map.field(name).cloned().map(Arc::new))),
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => field(inner, name),
        _ => Err(Error::NoSuchOverload),
    }
}
