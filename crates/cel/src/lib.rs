//! The Common Expression Language as Kubernetes has it: parsing, type checking, what an expression can cost at most,
//! and evaluation, with Kubernetes' libraries.
//!
//! What holds: an expression that was checked is evaluated without a panic and within its cost limit; evaluation has no
//! effect but the questions that an [`Authorizer`] is asked. Whose expression it is, and what follows from its value, is
//! not known here: no kind, no schema, no request.
//!
//! The language is <https://github.com/google/cel-spec>; what Kubernetes adds and leaves out is in its documentation,
//! <https://kubernetes.io/docs/reference/using-api/cel/>.

mod ast;
mod authorizer;
mod check;
mod cost;
mod declare;
mod error;
mod eval;
mod library;
mod macros;
mod parse;
mod program;
mod token;
mod types;
mod value;

pub use authorizer::{Asked, Authorizer, Question, Verdict};
pub use cost::Estimate;
pub use declare::Declaration;
pub use error::{Error, Issues};
pub use eval::{Budget, Variables};
pub use program::{Environment, Program};
pub use types::{Object, Type};
pub use value::{Key, Map, Opaque, Value};

/// Reads a span of time as Go writes it: `1h30m`, `-5s`.
///
/// # Errors
/// Why it is none.
pub fn parse_duration(text: &str) -> Result<jiff::SignedDuration, Error> {
    library::duration(text)
}

/// Reads a point in time, as RFC 3339 has it.
///
/// # Errors
/// Why it is none.
pub fn parse_timestamp(text: &str) -> Result<jiff::Timestamp, Error> {
    library::timestamp(text)
}

/// Whether a text can name a variable or a field.
#[must_use]
pub fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters
        .next()
        .is_some_and(|letter| letter == '_' || letter.is_ascii_alphabetic());
    first && letters.all(|letter| letter == '_' || letter.is_ascii_alphanumeric()) && !token::is_reserved(name)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
