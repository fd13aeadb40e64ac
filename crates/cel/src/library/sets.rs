//! Lists as sets.

use super::{Table, items};
use crate::types::Type;
use crate::value::Value;

pub(super) fn add(table: &mut Table) {
    let list = Type::list(Type::Param('A'));
    let both = || [list.clone(), list.clone()];
    table.global("sets.contains", both(), Type::Bool, |a| {
        Ok(Value::Bool(contains(items(&a[0])?, items(&a[1])?)))
    });
    table.global("sets.intersects", both(), Type::Bool, |a| {
        let (one, other) = (items(&a[0])?, items(&a[1])?);
        Ok(Value::Bool(one.iter().any(|item| other.contains(item))))
    });
    table.global("sets.equivalent", both(), Type::Bool, |a| {
        let (one, other) = (items(&a[0])?, items(&a[1])?);
        Ok(Value::Bool(contains(one, other) && contains(other, one)))
    });
}

fn contains(all: &[Value], some: &[Value]) -> bool {
    some.iter().all(|item| all.contains(item))
}
