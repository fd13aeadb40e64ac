//! From one type to another, and `type` itself.

use std::sync::Arc;

use super::{Table, text, times};
use crate::error::Error;
use crate::types::Type;
use crate::value::Value;

pub(super) fn add(table: &mut Table) {
    to_numbers(table);
    to_text(table);
    table.global("dyn", [Type::Param('A')], Type::Dyn, |a| Ok(a[0].clone()));
    table.global("type", [Type::Param('A')], Type::Type, |a| {
        Ok(Value::Type(Arc::from(a[0].type_name())))
    });
    table.global("bool", [Type::Bool], Type::Bool, |a| Ok(a[0].clone()));
    table.global("bool", [Type::String], Type::Bool, |a| match text(&a[0])? {
        "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
        _ => Err(Error::other("type conversion error from 'string' to 'bool'")),
    });
    table.global("bytes", [Type::Bytes], Type::Bytes, |a| Ok(a[0].clone()));
    table.add("bytes", "string_to_bytes", false, [Type::String], Type::Bytes, |a| {
        Ok(Value::Bytes(Arc::from(text(&a[0])?.as_bytes())))
    });
    sizes(table);
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the bounds are looked at before"
)]
fn to_numbers(table: &mut Table) {
    table.global("int", [Type::Int], Type::Int, |a| Ok(a[0].clone()));
    table.global("int", [Type::Uint], Type::Int, |a| match a {
        [Value::Uint(number)] => i64::try_from(*number)
            .map(Value::Int)
            .map_err(|_| Error::Overflow("integer")),
        _ => Err(Error::NoSuchOverload),
    });
    table.global("int", [Type::Double], Type::Int, |a| match a {
        [Value::Double(number)] if *number > i64::MIN as f64 && *number < i64::MAX as f64 => {
            Ok(Value::Int(*number as i64))
        }
        _ => Err(Error::Overflow("integer")),
    });
    table.global("int", [Type::String], Type::Int, |a| {
        text(&a[0])?
            .parse()
            .map(Value::Int)
            .map_err(|_| conversion("string", "int"))
    });
    table.global("int", [Type::Timestamp], Type::Int, |a| match a {
        [Value::Timestamp(time)] => Ok(Value::Int(time.as_second())),
        _ => Err(Error::NoSuchOverload),
    });
    table.global("int", [Type::Duration], Type::Int, |a| match a {
        [Value::Duration(span)] => i64::try_from(span.as_nanos())
            .map(Value::Int)
            .map_err(|_| Error::Overflow("integer")),
        _ => Err(Error::NoSuchOverload),
    });
    table.global("uint", [Type::Uint], Type::Uint, |a| Ok(a[0].clone()));
    table.global("uint", [Type::Int], Type::Uint, |a| match a {
        [Value::Int(number)] => u64::try_from(*number)
            .map(Value::Uint)
            .map_err(|_| Error::Overflow("unsigned integer")),
        _ => Err(Error::NoSuchOverload),
    });
    table.global("uint", [Type::Double], Type::Uint, |a| match a {
        [Value::Double(number)] if *number >= 0.0 && *number < u64::MAX as f64 => Ok(Value::Uint(*number as u64)),
        _ => Err(Error::Overflow("unsigned integer")),
    });
    table.global("uint", [Type::String], Type::Uint, |a| {
        text(&a[0])?
            .parse()
            .map(Value::Uint)
            .map_err(|_| conversion("string", "uint"))
    });
    table.global("double", [Type::Double], Type::Double, |a| Ok(a[0].clone()));
    for from in [Type::Int, Type::Uint] {
        table.global("double", [from], Type::Double, |a| {
            a[0].as_double().map(Value::Double).ok_or(Error::NoSuchOverload)
        });
    }
    table.global("double", [Type::String], Type::Double, |a| {
        text(&a[0])?
            .parse()
            .map(Value::Double)
            .map_err(|_| conversion("string", "double"))
    });
}

fn conversion(from: &str, to: &str) -> Error {
    Error::other(format!("type conversion error from '{from}' to '{to}'"))
}

fn to_text(table: &mut Table) {
    table.global("string", [Type::String], Type::String, |a| Ok(a[0].clone()));
    for from in [
        Type::Bool,
        Type::Int,
        Type::Uint,
        Type::Double,
        Type::Timestamp,
        Type::Duration,
    ] {
        table.global("string", [from], Type::String, |a| plain(&a[0]).map(Value::text));
    }
    table.add(
        "string",
        "bytes_to_string",
        false,
        [Type::Bytes],
        Type::String,
        |a| match a {
            [Value::Bytes(bytes)] => {
                let text = std::str::from_utf8(bytes);
                text.map(Value::text)
                    .map_err(|_| Error::other("invalid UTF-8 in bytes, cannot convert to string"))
            }
            _ => Err(Error::NoSuchOverload),
        },
    );
}

/// A value as `string(...)` writes it.
pub(super) fn plain(value: &Value) -> Result<String, Error> {
    Ok(match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => double(*number),
        Value::String(text) => text.to_string(),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(span) => times::seconds(*span),
        _ => return Err(Error::NoSuchOverload),
    })
}

/// The shortest digits that say the number, with an exponent where it is far from 1.
fn double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = number.abs();
    if number != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    number.to_string()
}

fn sizes(table: &mut Table) {
    for of in [
        Type::String,
        Type::Bytes,
        Type::list(Type::Param('A')),
        Type::map(Type::Param('A'), Type::Param('B')),
    ] {
        let call: super::Call = |a| match &a[0] {
            Value::Map(map) => Ok(Value::Int(i64::try_from(map.entries.len()).unwrap_or(i64::MAX))),
            value => Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX))),
        };
        table.global("size", [of.clone()], Type::Int, call);
        table.method("size", [of], Type::Int, call);
    }
}
