//! Why a patch or an apply is refused, with the texts and codes that Kubernetes gives.

use meta::{Cause, Details, Status};

use crate::merge::apply::Conflict;

/// Why a patch or an apply is refused. Becomes the `Status` that Kubernetes answers with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The patch is malformed: 400.
    #[error("{0}")]
    BadRequest(String),
    /// A JSON patch with more operations than are allowed: 413.
    #[error("The allowed maximum operations in a JSON patch is {allowed}, got {got}")]
    TooManyOperations {
        /// How many are allowed.
        allowed: usize,
        /// How many there are.
        got: usize,
    },
    /// The patch can't be applied to this object, as when a `test` fails: 422. Kubernetes keeps the reason to itself.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable {
        /// What went wrong, for logs.
        reason: String,
    },
    /// Other managers own what was applied with other values: 409.
    #[error("{}", crate::merge::apply::conflict_text(.0))]
    Conflicts(Vec<Conflict>),
    /// What Kubernetes answers as a plain error: 500 without a reason.
    #[error("{0}")]
    Plain(String),
}

impl Problem {
    pub(super) fn unprocessable(reason: impl Into<String>) -> Self {
        Self::Unprocessable { reason: reason.into() }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let message = problem.to_string();
        match problem {
            Problem::BadRequest(_) => Self::bad_request(message),
            Problem::TooManyOperations { .. } => Self::too_large(message),
            Problem::Unprocessable { .. } => Self::failure(422, "Invalid", message).with_details(Details::default()),
            Problem::Conflicts(conflicts) => Self::apply_conflict(conflicts.iter().map(cause).collect(), message),
            Problem::Plain(_) => Self::failure(500, "", message),
        }
    }
}

fn cause(conflict: &Conflict) -> Cause {
    Cause {
        reason: "FieldManagerConflict".into(),
        message: conflict.message(),
        field: conflict.path.to_string(),
    }
}
