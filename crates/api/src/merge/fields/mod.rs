//! Field paths, sets of them, and their wire form FieldsV1. Nothing here knows a schema, an object or a manager.

mod codec;
mod element;
mod set;
#[cfg(test)]
mod tests;

pub(crate) use codec::touches;
pub use codec::{FieldsError, decode, encode};
pub use element::{Element, ElementError, KeyField, Scalar};
pub use set::{FieldSet, Node, Path};
