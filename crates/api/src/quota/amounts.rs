//! Amounts of named resources, and the arithmetic on them. It knows no kind.

use std::collections::BTreeMap;

use meta::Quantity;
use serde_json::{Map, Value};

use crate::rules::resources::parse;

/// Amounts by the names of resources, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Quantity>);

impl Amounts {
    /// Reads a resource list; what is no quantity is left out.
    pub fn read(list: &Value) -> Amounts {
        let entries = list.as_object().into_iter().flatten();
        Amounts(
            entries
                .filter_map(|(name, value)| Some((name.clone(), parse(value)?)))
                .collect(),
        )
    }

    /// As a resource list.
    pub fn to_value(&self) -> Value {
        let entries = self.0.iter();
        Value::Object(
            entries
                .map(|(name, amount)| (name.clone(), amount.to_string().into()))
                .collect::<Map<_, _>>(),
        )
    }

    /// `a=1,b=2`, as messages have it.
    pub fn text(&self) -> String {
        let entries = self.0.iter();
        let parts: Vec<String> = entries.map(|(name, amount)| format!("{name}={amount}")).collect();
        parts.join(",")
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    /// The names and the amounts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets an amount.
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// Adds all of these.
    pub fn add(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(own) => *own += *amount,
                None => drop(self.0.insert(name.clone(), *amount)),
            }
        }
    }

    /// Adds one amount.
    pub fn add_one(&mut self, name: impl Into<String>, amount: Quantity) {
        *self.0.entry(name.into()).or_default() += amount;
    }

    /// Raises each to at least what these are.
    pub(crate) fn raise(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(own) if *own >= *amount => {}
                Some(own) => *own = *amount,
                None => drop(self.0.insert(name.clone(), *amount)),
            }
        }
    }

    /// What is more than in `other`; nothing below zero.
    #[must_use]
    pub(crate) fn beyond(&self, other: &Amounts) -> Amounts {
        let mut out = Amounts::default();
        for (name, amount) in &self.0 {
            let left = *amount - other.get(name).unwrap_or_default();
            out.set(name.clone(), if left.is_negative() { Quantity::ZERO } else { left });
        }
        out
    }

    /// Only what isn't zero.
    #[must_use]
    pub(crate) fn without_zeros(mut self) -> Amounts {
        self.0.retain(|_, amount| !amount.is_zero());
        self
    }

    /// Only those with these names.
    #[must_use]
    pub fn only(&self, names: &dyn Fn(&str) -> bool) -> Amounts {
        let entries = self.0.iter().filter(|(name, _)| names(name));
        Amounts(entries.map(|(name, amount)| (name.clone(), *amount)).collect())
    }
}
