//! What every object has and every room speaks about: names, uids, kinds, revisions, selectors, quantities, `Status`.
//!
//! It knows no kind: nothing in here may depend on what a Pod or a Service is.

pub mod causes;
pub mod duration;
pub mod failpoint;
pub mod field;
pub mod fields;
mod key;
mod kind;
pub mod labels;
mod lookup;
pub mod names;
mod quantity;
mod quote;
mod revision;
mod status;
pub mod time;

pub use field::{FieldError, FieldErrorType, Path};
pub use key::{ObjectKey, Uid};
pub use kind::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use lookup::Lookup;
pub use quantity::{Format, Quantity, QuantityError};
pub use quote::quote;
pub use revision::Revision;
pub use status::{Cause, Details, Reason, Status};
