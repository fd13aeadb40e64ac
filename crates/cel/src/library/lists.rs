//! Lists: Kubernetes' functions, and cel-go's extension in its third version.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Table, int, items};
use crate::ast::operator;
use crate::error::Error;
use crate::types::Type;
use crate::value::Value;

const A: Type = Type::Param('A');
/// A list made by `lists.range` or `flatten` has no more elements.
const MOST: usize = 1_000_000;

pub(super) fn add(table: &mut Table) {
    for of in [
        Type::Int,
        Type::Uint,
        Type::Double,
        Type::Bool,
        Type::Duration,
        Type::Timestamp,
        Type::String,
        Type::Bytes,
    ] {
        let list = Type::list(of.clone());
        table.method("isSorted", [list.clone()], Type::Bool, |a| {
            let items = items(&a[0])?;
            for pair in items.windows(2) {
                if pair[0].compare(&pair[1])? == Ordering::Greater {
                    return Ok(Value::Bool(false));
                }
            }
            Ok(Value::Bool(true))
        });
        table.method("min", [list.clone()], of.clone(), |a| {
            extreme(&a[0], "min", Ordering::Less)
        });
        table.method("max", [list.clone()], of.clone(), |a| {
            extreme(&a[0], "max", Ordering::Greater)
        });
        table.method("sort", [list.clone()], list.clone(), |a| {
            let all = items(&a[0])?;
            sorted(all, all)
        });
        let keys = list;
        table.method("@sortByAssociatedKeys", [Type::list(A), keys], Type::list(A), |a| {
            sorted(items(&a[0])?, items(&a[1])?)
        });
    }
    table.method("sum", [Type::list(Type::Int)], Type::Int, |a| {
        sum(&a[0], &Value::Int(0))
    });
    table.method("sum", [Type::list(Type::Uint)], Type::Uint, |a| {
        sum(&a[0], &Value::Uint(0))
    });
    table.method("sum", [Type::list(Type::Double)], Type::Double, |a| {
        sum(&a[0], &Value::Double(0.0))
    });
    table.method("sum", [Type::list(Type::Duration)], Type::Duration, |a| {
        sum(&a[0], &Value::Duration(jiff::SignedDuration::ZERO))
    });
    table.method("indexOf", [Type::list(A), A], Type::Int, |a| {
        Ok(at(items(&a[0])?.iter().position(|item| *item == a[1])))
    });
    table.method("lastIndexOf", [Type::list(A), A], Type::Int, |a| {
        Ok(at(items(&a[0])?.iter().rposition(|item| *item == a[1])))
    });
    shaping(table);
}

fn at(place: Option<usize>) -> Value {
    Value::Int(place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1))
}

fn extreme(list: &Value, name: &str, wanted: Ordering) -> Result<Value, Error> {
    let mut all = items(list)?.iter();
    let empty = || Error::other(format!("{name} called on empty list"));
    let mut best = all.next().ok_or_else(empty)?;
    for item in all {
        if item.compare(best)? == wanted {
            best = item;
        }
    }
    Ok(best.clone())
}

fn sum(list: &Value, zero: &Value) -> Result<Value, Error> {
    let add = |sum: Value, item: &Value| super::call(operator::ADD, &[sum, item.clone()]).map(|(_, sum)| sum);
    items(list)?.iter().try_fold(zero.clone(), add)
}

/// The elements in the order of their keys; those with equal keys stay in theirs.
fn sorted(all: &[Value], keys: &[Value]) -> Result<Value, Error> {
    if all.len() != keys.len() {
        return Err(Error::NoSuchOverload);
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    let mut failed = None;
    order.sort_by(|a, b| {
        keys[*a].compare(&keys[*b]).unwrap_or_else(|error| {
            failed.get_or_insert(error);
            Ordering::Equal
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(Value::list(order.into_iter().map(|at| all[at].clone()).collect())),
    }
}

fn shaping(table: &mut Table) {
    let list = Type::list(A);
    table.method("slice", [list.clone(), Type::Int, Type::Int], list.clone(), |a| {
        let (all, from, to) = (items(&a[0])?, int(&a[1])?, int(&a[2])?);
        let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
        if from < 0 || to < 0 {
            return Err(Error::other(format!(
                "cannot slice({from}, {to}), negative indexes not supported"
            )));
        }
        if from > to {
            return Err(Error::other(format!(
                "cannot slice({from}, {to}), start index must be less than or equal to end index"
            )));
        }
        if to > count {
            return Err(Error::other(format!(
                "cannot slice({from}, {to}), list is length {count}"
            )));
        }
        let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0));
        Ok(Value::list(all[from..to].to_vec()))
    });
    table.method("reverse", [list.clone()], list.clone(), |a| {
        Ok(Value::list(items(&a[0])?.iter().rev().cloned().collect()))
    });
    table.method("distinct", [list.clone()], list.clone(), |a| {
        let mut kept: Vec<Value> = Vec::new();
        for item in items(&a[0])?.iter() {
            if !kept.contains(item) {
                kept.push(item.clone());
            }
        }
        Ok(Value::list(kept))
    });
    table.method("flatten", [Type::list(list.clone())], list.clone(), |a| {
        flattened(items(&a[0])?, 1)
    });
    table.method("flatten", [Type::list(Type::Dyn)], Type::list(Type::Dyn), |a| {
        flattened(items(&a[0])?, 1)
    });
    table.method(
        "flatten",
        [Type::list(Type::Dyn), Type::Int],
        Type::list(Type::Dyn),
        |a| {
            let depth = int(&a[1])?;
            if depth < 0 {
                return Err(Error::other("level must be non-negative"));
            }
            flattened(items(&a[0])?, depth)
        },
    );
    table.global("lists.range", [Type::Int], Type::list(Type::Int), |a| {
        let count = int(&a[0])?;
        if usize::try_from(count).is_ok_and(|count| count > MOST) {
            return Err(Error::other(format!("lists.range() of {count} elements is too long")));
        }
        Ok(Value::list((0..count).map(Value::Int).collect()))
    });
}

fn flattened(all: &[Value], depth: i64) -> Result<Value, Error> {
    let mut out = Vec::new();
    flatten(all, depth, &mut out)?;
    Ok(Value::List(Arc::new(out)))
}

fn flatten(all: &[Value], depth: i64, out: &mut Vec<Value>) -> Result<(), Error> {
    for item in all {
        match item {
            Value::List(inner) if depth > 0 => flatten(inner, depth - 1, out)?,
            other => out.push(other.clone()),
        }
        if out.len() > MOST {
            return Err(Error::other("flatten() makes too long a list"));
        }
    }
    Ok(())
}
