//! How Go prints values: Kubernetes' merge errors and conflict paths show values in Go's notation, and clients compare
//! those texts. Only text is made here; nothing is decided.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// A value as Go's `%v` prints it: maps as `map[a:1 b:2]` with sorted keys, lists as `[1 2]`, strings bare.
pub(super) fn plain(value: &Value) -> String {
    let mut out = String::new();
    write_plain(&mut out, value);
    out
}

/// A list as Go's `%v` prints a slice.
pub(super) fn plain_list(items: &[Value]) -> String {
    let mut out = String::new();
    write_list(&mut out, items);
    out
}

fn write_plain(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => write_list(out, items),
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push_str("map[");
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_plain(out, &map[key]);
            }
            out.push(']');
        }
    }
}

fn write_list(out: &mut String, items: &[Value]) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        write_plain(out, item);
    }
    out.push(']');
}

fn write_number(out: &mut String, number: &Number) {
    match (number.as_i64(), number.as_f64()) {
        (Some(int), _) => _ = write!(out, "{int}"),
        (None, Some(float)) => out.push_str(&float_text(float, -4)),
        (None, None) => _ = write!(out, "{number}"),
    }
}

/// A float in Go's shortest notation: an exponent below `10^least` and from `10^21` on. `%v` begins at -4, JSON at -6.
pub(super) fn float_text(float: f64, least: i32) -> String {
    if float == 0.0 {
        return if float.is_sign_negative() {
            "-0".into()
        } else {
            "0".into()
        };
    }
    let scientific = format!("{float:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent >= least && exponent < 21 {
        return format!("{float}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let width = if least == -4 { 2 } else { 1 };
    format!("{mantissa}e{sign}{:0width$}", exponent.abs())
}

/// The name of a JSON kind as Go's `encoding/json` calls it in its errors.
pub(super) fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The Go type that an untyped decoder gives a value.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_print_like_go() {
        let value = json!({"b": [1, 2.5, "x", null], "a": {"c": true}});
        assert_eq!(plain(&value), "map[a:map[c:true] b:[1 2.5 x <nil>]]");
        assert_eq!(plain(&json!(1e21)), "1e+21");
        assert_eq!(plain(&json!(0.00001)), "1e-05");
        assert_eq!(plain(&json!(100000.0)), "100000");
    }
}
