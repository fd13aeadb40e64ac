//! Objects seen along their schema, the way ownership sees them: which fields one has, how two differ, how one is laid
//! over another, how fields are taken out. One walker per file. Knows field sets, but no manager.

mod compare;
mod ensure;
mod equal;
mod merge;
mod owned;
mod reconcile;
mod remove;
mod shape;
mod skeleton;
mod validate;

pub(crate) use compare::compare;
pub(crate) use ensure::ensure_named;
pub(crate) use equal::same;
pub(crate) use merge::merge;
pub(crate) use owned::fields_of;
pub(crate) use reconcile::reconcile;
pub(crate) use remove::remove;
pub(crate) use skeleton::skeleton;
pub(crate) use validate::validate;
