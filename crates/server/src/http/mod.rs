//! HTTP itself: connections, bodies, what a path and a query ask for, and in which format an answer goes out.
//!
//! Nothing here knows a kind or decides who may do what.

pub(crate) mod body;
pub(crate) mod listen;
pub(crate) mod negotiate;
pub(crate) mod path;
pub(crate) mod query;

pub use body::Body;
