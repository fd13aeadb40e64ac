//! Operators: arithmetic, comparison, membership and access.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Table, items, text};
use crate::ast::operator;
use crate::error::Error;
use crate::types::Type;
use crate::value::{Key, Map, Value};

const A: Type = Type::Param('A');
const B: Type = Type::Param('B');

pub(super) fn add(table: &mut Table) {
    logic(table);
    comparison(table);
    arithmetic(table);
    access(table);
}

/// The evaluator has its own of these: they don't need all of their arguments.
fn logic(table: &mut Table) {
    let own = |_: &[Value]| Err(Error::NoSuchOverload);
    table.global(operator::AND, [Type::Bool, Type::Bool], Type::Bool, own);
    table.global(operator::OR, [Type::Bool, Type::Bool], Type::Bool, own);
    table.global(operator::CONDITIONAL, [Type::Bool, A, A], A, own);
    table.global(operator::NOT_STRICTLY_FALSE, [Type::Bool], Type::Bool, own);
    table.global(operator::NOT, [Type::Bool], Type::Bool, |a| match a {
        [Value::Bool(flag)] => Ok(Value::Bool(!flag)),
        _ => Err(Error::NoSuchOverload),
    });
}

fn comparison(table: &mut Table) {
    table.add(operator::EQUALS, "equals", false, [A, A], Type::Bool, |a| {
        Ok(Value::Bool(a[0] == a[1]))
    });
    table.add(operator::NOT_EQUALS, "equals", false, [A, A], Type::Bool, |a| {
        Ok(Value::Bool(a[0] != a[1]))
    });
    let orders: [(&str, super::Call); 4] = [
        (operator::LESS, |a| {
            a[0].compare(&a[1]).map(|order| Value::Bool(order == Ordering::Less))
        }),
        (operator::LESS_EQUALS, |a| {
            a[0].compare(&a[1]).map(|order| Value::Bool(order != Ordering::Greater))
        }),
        (operator::GREATER, |a| {
            a[0].compare(&a[1]).map(|order| Value::Bool(order == Ordering::Greater))
        }),
        (operator::GREATER_EQUALS, |a| {
            a[0].compare(&a[1]).map(|order| Value::Bool(order != Ordering::Less))
        }),
    ];
    for (name, call) in orders {
        let numbers = [Type::Int, Type::Uint, Type::Double];
        for left in &numbers {
            for right in &numbers {
                table.global(name, [left.clone(), right.clone()], Type::Bool, call);
            }
        }
        for own in [Type::Bool, Type::Duration, Type::Timestamp] {
            table.global(name, [own.clone(), own], Type::Bool, call);
        }
        table.add(
            name,
            "compare_string",
            false,
            [Type::String, Type::String],
            Type::Bool,
            call,
        );
        table.add(
            name,
            "compare_bytes",
            false,
            [Type::Bytes, Type::Bytes],
            Type::Bool,
            call,
        );
    }
}

fn arithmetic(table: &mut Table) {
    let whole: [(&str, super::Call); 5] = [
        (operator::ADD, |a| of_ints(a, i64::checked_add)),
        (operator::SUBTRACT, |a| of_ints(a, i64::checked_sub)),
        (operator::MULTIPLY, |a| of_ints(a, i64::checked_mul)),
        (operator::DIVIDE, |a| match a {
            [_, Value::Int(0)] => Err(Error::DivisionByZero),
            _ => of_ints(a, i64::checked_div),
        }),
        (operator::MODULO, |a| match a {
            [_, Value::Int(0)] => Err(Error::ModulusByZero),
            _ => of_ints(a, i64::checked_rem),
        }),
    ];
    let unsigned: [(&str, super::Call); 5] = [
        (operator::ADD, |a| of_uints(a, u64::checked_add)),
        (operator::SUBTRACT, |a| of_uints(a, u64::checked_sub)),
        (operator::MULTIPLY, |a| of_uints(a, u64::checked_mul)),
        (operator::DIVIDE, |a| match a {
            [_, Value::Uint(0)] => Err(Error::DivisionByZero),
            _ => of_uints(a, u64::checked_div),
        }),
        (operator::MODULO, |a| match a {
            [_, Value::Uint(0)] => Err(Error::ModulusByZero),
            _ => of_uints(a, u64::checked_rem),
        }),
    ];
    let floating: [(&str, super::Call); 4] = [
        (operator::ADD, |a| of_doubles(a, |a, b| a + b)),
        (operator::SUBTRACT, |a| of_doubles(a, |a, b| a - b)),
        (operator::MULTIPLY, |a| of_doubles(a, |a, b| a * b)),
        (operator::DIVIDE, |a| of_doubles(a, |a, b| a / b)),
    ];
    for (ty, calls) in [
        (Type::Int, &whole[..]),
        (Type::Uint, &unsigned),
        (Type::Double, &floating),
    ] {
        for (name, call) in calls {
            table.global(name, [ty.clone(), ty.clone()], ty.clone(), *call);
        }
    }
    table.global(operator::NEGATE, [Type::Int], Type::Int, |a| match a {
        [Value::Int(number)] => number.checked_neg().map(Value::Int).ok_or(Error::Overflow("integer")),
        _ => Err(Error::NoSuchOverload),
    });
    table.global(operator::NEGATE, [Type::Double], Type::Double, |a| match a {
        [Value::Double(number)] => Ok(Value::Double(-number)),
        _ => Err(Error::NoSuchOverload),
    });
    joining(table);
    of_times(table);
}

fn of_ints(a: &[Value], work: fn(i64, i64) -> Option<i64>) -> Result<Value, Error> {
    match a {
        [Value::Int(a), Value::Int(b)] => work(*a, *b).map(Value::Int).ok_or(Error::Overflow("integer")),
        _ => Err(Error::NoSuchOverload),
    }
}

fn of_uints(a: &[Value], work: fn(u64, u64) -> Option<u64>) -> Result<Value, Error> {
    match a {
        [Value::Uint(a), Value::Uint(b)] => work(*a, *b).map(Value::Uint).ok_or(Error::Overflow("unsigned integer")),
        _ => Err(Error::NoSuchOverload),
    }
}

fn of_doubles(a: &[Value], work: fn(f64, f64) -> f64) -> Result<Value, Error> {
    match a {
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(work(*a, *b))),
        _ => Err(Error::NoSuchOverload),
    }
}

fn joining(table: &mut Table) {
    table.add(
        operator::ADD,
        "add_string",
        false,
        [Type::String, Type::String],
        Type::String,
        |a| Ok(Value::text([text(&a[0])?, text(&a[1])?].concat())),
    );
    table.add(
        operator::ADD,
        "add_bytes",
        false,
        [Type::Bytes, Type::Bytes],
        Type::Bytes,
        |a| match a {
            [Value::Bytes(a), Value::Bytes(b)] => Ok(Value::Bytes([&a[..], b].concat().into())),
            _ => Err(Error::NoSuchOverload),
        },
    );
    let list = Type::list(A);
    table.add(
        operator::ADD,
        "add_list",
        false,
        [list.clone(), list.clone()],
        list,
        |a| {
            let mut joined = items(&a[0])?.to_vec();
            joined.extend(items(&a[1])?.iter().cloned());
            Ok(Value::list(joined))
        },
    );
}

fn of_times(table: &mut Table) {
    let (time, span) = (Type::Timestamp, Type::Duration);
    table.global(operator::ADD, [time.clone(), span.clone()], time.clone(), |a| match a {
        [Value::Timestamp(time), Value::Duration(span)] => moved(*time, *span),
        _ => Err(Error::NoSuchOverload),
    });
    table.global(operator::ADD, [span.clone(), time.clone()], time.clone(), |a| match a {
        [Value::Duration(span), Value::Timestamp(time)] => moved(*time, *span),
        _ => Err(Error::NoSuchOverload),
    });
    table.global(operator::ADD, [span.clone(), span.clone()], span.clone(), |a| match a {
        [Value::Duration(a), Value::Duration(b)] => a
            .checked_add(*b)
            .map(Value::Duration)
            .ok_or(Error::Overflow("duration")),
        _ => Err(Error::NoSuchOverload),
    });
    table.global(
        operator::SUBTRACT,
        [time.clone(), span.clone()],
        time.clone(),
        |a| match a {
            [Value::Timestamp(time), Value::Duration(span)] => {
                let back = span.checked_neg().ok_or(Error::Overflow("duration"))?;
                moved(*time, back)
            }
            _ => Err(Error::NoSuchOverload),
        },
    );
    table.global(operator::SUBTRACT, [time.clone(), time], span.clone(), |a| match a {
        [Value::Timestamp(a), Value::Timestamp(b)] => Ok(Value::Duration(a.duration_since(*b))),
        _ => Err(Error::NoSuchOverload),
    });
    table.global(operator::SUBTRACT, [span.clone(), span.clone()], span, |a| match a {
        [Value::Duration(a), Value::Duration(b)] => a
            .checked_sub(*b)
            .map(Value::Duration)
            .ok_or(Error::Overflow("duration")),
        _ => Err(Error::NoSuchOverload),
    });
}

fn moved(time: Timestamp, span: SignedDuration) -> Result<Value, Error> {
    let moved = time.checked_add(span).map_err(|_| Error::Overflow("timestamp"))?;
    Ok(Value::Timestamp(moved))
}

fn access(table: &mut Table) {
    let (list, map) = (Type::list(A), Type::map(A, B));
    table.add(
        operator::INDEX,
        "index_list",
        false,
        [list.clone(), Type::Int],
        A,
        |a| {
            let index = index_of(&a[1])?;
            element(items(&a[0])?, index).ok_or(Error::OutOfBounds(index))
        },
    );
    table.add(operator::INDEX, "index_map", false, [map.clone(), A], B, |a| {
        entry(&a[0], &a[1])?.ok_or_else(|| Error::NoSuchKey(shown(&a[1])))
    });
    // Of an optional list or map, an optional value.
    table.global(
        operator::INDEX,
        [Type::optional(list.clone()), Type::Int],
        Type::optional(A),
        perhaps,
    );
    table.global(
        operator::INDEX,
        [Type::optional(map.clone()), A],
        Type::optional(B),
        perhaps,
    );
    table.global(
        operator::OPTIONAL_INDEX,
        [list.clone(), Type::Int],
        Type::optional(A),
        perhaps,
    );
    table.global(operator::OPTIONAL_INDEX, [map.clone(), A], Type::optional(B), perhaps);
    table.global(
        operator::OPTIONAL_INDEX,
        [Type::optional(list.clone()), Type::Int],
        Type::optional(A),
        perhaps,
    );
    table.global(
        operator::OPTIONAL_INDEX,
        [Type::optional(map.clone()), A],
        Type::optional(B),
        perhaps,
    );
    table.add(operator::IN, "in_list", false, [A, list], Type::Bool, |a| {
        Ok(Value::Bool(items(&a[1])?.contains(&a[0])))
    });
    table.add(operator::IN, "in_map", false, [A, map.clone()], Type::Bool, |a| {
        Ok(Value::Bool(entry(&a[1], &a[0])?.is_some()))
    });
    table.global(
        operator::OPTIONAL_SELECT,
        [Type::Dyn, Type::String],
        Type::optional(Type::Dyn),
        |a| super::optional_field(&a[0], text(&a[1])?),
    );
    table.global(operator::MAP_INSERT, [map.clone(), A, B], map.clone(), |a| {
        let key = Key::of(&a[1]).ok_or(Error::NoSuchOverload)?;
        inserted(&a[0], [(key, a[2].clone())])
    });
    table.global(operator::MAP_INSERT, [map.clone(), map.clone()], map, |a| match &a[1] {
        Value::Map(more) => inserted(
            &a[0],
            more.entries.iter().map(|(key, value)| (key.clone(), value.clone())),
        ),
        _ => Err(Error::NoSuchOverload),
    });
}

/// An index may be any number that is whole.
fn index_of(value: &Value) -> Result<i64, Error> {
    match Key::of(value) {
        Some(Key::Int(index)) => Ok(index),
        _ => Err(Error::NoSuchOverload),
    }
}

fn element(items: &[Value], index: i64) -> Option<Value> {
    items.get(usize::try_from(index).ok()?).cloned()
}

fn entry(map: &Value, key: &Value) -> Result<Option<Value>, Error> {
    match (map, Key::of(key)) {
        (Value::Map(map), Some(key)) => Ok(map.entries.get(&key).cloned()),
        (Value::Map(_), None) => Ok(None),
        _ => Err(Error::NoSuchOverload),
    }
}

/// The element or entry, if it is there.
fn perhaps(a: &[Value]) -> Result<Value, Error> {
    let found = match &a[0] {
        Value::Optional(None) => None,
        Value::Optional(Some(inner)) => return perhaps(&[(**inner).clone(), a[1].clone()]),
        Value::List(items) => element(items, index_of(&a[1])?),
        map => entry(map, &a[1])?,
    };
    Ok(Value::Optional(found.map(Arc::new)))
}

fn inserted(map: &Value, entries: impl IntoIterator<Item = (Key, Value)>) -> Result<Value, Error> {
    let Value::Map(map) = map else {
        return Err(Error::NoSuchOverload);
    };
    let mut all = map.entries.clone();
    for (key, value) in entries {
        if all.contains_key(&key) {
            return Err(Error::other(format!("insert failed: key '{key}' already exists")));
        }
        all.insert(key, value);
    }
    Ok(Value::Map(Arc::new(Map {
        name: None,
        entries: all,
    })))
}

fn shown(value: &Value) -> String {
    Key::of(value).map_or_else(|| value.type_name().to_owned(), |key| key.to_string())
}
