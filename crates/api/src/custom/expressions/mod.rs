//! The rules in CEL of a definition (`x-kubernetes-validations`): compiled when an object is first checked, evaluated on
//! every write that got past the rest of validation. The language is the crate `cel`'s; which rules there are, what they
//! are about and what follows from them is here.

mod declare;
mod definition;
mod names;
mod place;
mod rule;
mod values;

use cel::Budget;
use meta::FieldError;
use serde_json::Value;

pub(crate) use declare::declare_published;
pub(crate) use definition::check_rules;
pub(crate) use names::escape;
use place::{Place, Visit};

/// What all rules together may cost for one object, and each of them, as in Kubernetes.
const TOGETHER: u64 = 10_000_000;
const EACH: u64 = 1_000_000;

/// The compiled rules of a schema.
#[derive(Debug)]
pub(crate) struct Expressions(Option<Place>);

impl Expressions {
    /// Compiles all rules of a schema.
    pub(crate) fn compile(schema: &Value) -> Expressions {
        Expressions(Place::compile(schema, true))
    }

    /// What the rules have against an object, or against its change. What has not changed may stay as it was.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut visit = Visit {
            budget: Budget::new(TOGETHER, EACH),
            over: false,
            errors: Vec::new(),
        };
        if let Some(root) = &self.0 {
            root.check(&mut visit, object, old, false, "");
        }
        visit.errors
    }
}

#[cfg(test)]
mod tests;
