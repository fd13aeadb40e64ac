//! Patches and server-side apply over the schema table: JSON patch, JSON merge patch, strategic merge patch, and apply
//! with the ownership of fields. Everything is a pure function of trees. No kind is named here: what a kind needs is in
//! the table.

pub mod apply;
pub mod fields;
mod go_text;
mod json_patch;
mod merge_patch;
mod overlay;
mod problem;
#[cfg(test)]
mod sample;
mod strategic;
mod typed;

pub use json_patch::{MAX_OPERATIONS, Patched, json_patch};
pub use merge_patch::merge_patch;
pub use overlay::overlay;
pub use problem::Problem;
pub use strategic::{strategic, strategic_diff};
