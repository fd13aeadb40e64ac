//! Strategic merge patch: a merge patch whose lists are merged by key where the schema says so, with directives for
//! deletion, replacement and order. `patch` applies one, `diff` makes one, as kubectl does.

mod diff;
mod directive;
mod lists;
mod lookup;
mod patch;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::merge::Problem;
use crate::schema::{Schema, TypeId};

/// Applies a strategic merge patch to an object of this type.
pub fn strategic(schema: &Schema, ty: TypeId, current: &Value, patch: &Value) -> Result<Value, Problem> {
    patch::apply(schema, ty, current, patch).map_err(Problem::from)
}

/// The strategic merge patch that makes `new` out of `old`; an empty object when they are the same.
pub fn strategic_diff(schema: &Schema, ty: TypeId, old: &Value, new: &Value) -> Result<Value, Problem> {
    diff::diff(schema, ty, old, new).map_err(Problem::from)
}

/// Why a strategic merge patch can't be applied, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("invalid JSON document")]
    NotAnObject,
    #[error("invalid patch format of primitive list")]
    BadDeleteList,
    #[error("invalid patch format of retainKeys")]
    BadRetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    BadOrderList,
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Anything that Kubernetes has no class for.
    #[error("{0}")]
    Other(String),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotAnObject | Fault::BadDeleteList | Fault::BadRetainKeys | Fault::BadOrderList => {
                Self::BadRequest(fault.to_string())
            }
            Fault::ListOfLists => Self::unprocessable(fault.to_string()),
            Fault::Other(reason) => Self::Plain(reason),
        }
    }
}
