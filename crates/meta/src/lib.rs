//! What every object has and every room speaks about: names, uids, kinds, revisions, selectors, quantities, `Status`.
//!
//! It knows no kind: nothing in here may depend on what a Pod or a Service is.

mod revision;

pub use revision::Revision;
