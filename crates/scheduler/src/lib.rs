//! Finds a node for each pod: snapshot, filter, score, bind.
//!
//! One task owns all that is known of nodes and pods, as integers and interned strings, and changes it by events; so
//! there is no snapshot to copy and no lock in the cycle. Plug-ins are pure: they see one pod and one node, and know
//! neither the API nor the clock. Nothing here polls.

mod admission;
mod cache;
mod cycle;
mod driver;
mod intern;
mod model;
mod plugins;
mod project;
mod queue;
mod terms;

pub use admission::{Refusal, Room};
pub use driver::run;
