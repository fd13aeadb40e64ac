//! Kubernetes' quantities.

use std::cmp::Ordering;

use meta::{Format, Quantity};

use super::{Table, int, opaque, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::{Opaque, Value};

const NAME: &str = "kubernetes.Quantity";
const QUANTITY: Type = Type::Opaque(NAME);

#[derive(Debug)]
struct Amount(Quantity);

impl Opaque for Amount {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.downcast::<Amount>().is_some_and(|other| other.0 == self.0)
    }
}

pub(super) fn add(table: &mut Table) {
    table.global("quantity", [Type::String], QUANTITY, |a| {
        let parsed = text(&a[0])?.parse::<Quantity>();
        parsed.map(|amount| Value::opaque(Amount(amount))).map_err(Error::other)
    });
    table.global("isQuantity", [Type::String], Type::Bool, |a| {
        Ok(Value::Bool(text(&a[0])?.parse::<Quantity>().is_ok()))
    });
    table.method("sign", [QUANTITY], Type::Int, |a| {
        Ok(Value::Int(match amount(&a[0])?.cmp(&Quantity::ZERO) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    });
    table.method("isGreaterThan", [QUANTITY, QUANTITY], Type::Bool, |a| {
        Ok(Value::Bool(amount(&a[0])? > amount(&a[1])?))
    });
    table.method("isLessThan", [QUANTITY, QUANTITY], Type::Bool, |a| {
        Ok(Value::Bool(amount(&a[0])? < amount(&a[1])?))
    });
    table.method("compareTo", [QUANTITY, QUANTITY], Type::Int, |a| {
        Ok(Value::Int(amount(&a[0])?.cmp(&amount(&a[1])?) as i64))
    });
    table.method("asApproximateFloat", [QUANTITY], Type::Double, |a| {
        Ok(Value::Double(amount(&a[0])?.as_f64()))
    });
    table.method("asInteger", [QUANTITY], Type::Int, |a| {
        let whole = whole(amount(&a[0])?);
        whole
            .map(Value::Int)
            .ok_or_else(|| Error::other("cannot convert value to integer"))
    });
    table.method("isInteger", [QUANTITY], Type::Bool, |a| {
        Ok(Value::Bool(whole(amount(&a[0])?).is_some()))
    });
    table.method("add", [QUANTITY, QUANTITY], QUANTITY, |a| {
        Ok(Value::opaque(Amount(amount(&a[0])? + amount(&a[1])?)))
    });
    table.method("sub", [QUANTITY, QUANTITY], QUANTITY, |a| {
        Ok(Value::opaque(Amount(amount(&a[0])? - amount(&a[1])?)))
    });
    table.method("add", [QUANTITY, Type::Int], QUANTITY, |a| {
        Ok(Value::opaque(Amount(
            amount(&a[0])? + Quantity::from_units(int(&a[1])?, Format::DecimalSi),
        )))
    });
    table.method("sub", [QUANTITY, Type::Int], QUANTITY, |a| {
        Ok(Value::opaque(Amount(
            amount(&a[0])? - Quantity::from_units(int(&a[1])?, Format::DecimalSi),
        )))
    });
}

fn amount(value: &Value) -> Result<Quantity, Error> {
    opaque::<Amount>(value).map(|amount| amount.0)
}

/// The number of units, when it is one.
fn whole(amount: Quantity) -> Option<i64> {
    let units = amount.units();
    (Quantity::from_units(units, Format::DecimalSi) == amount).then_some(units)
}
