//! The loop that every reconciler runs in: a queue of keys, workers, back-off, a clock that tests can hold.
//!
//! A reconciler gets a key, never an event, and reads the world itself. Nothing in here knows the API or a kind.

mod clock;
mod queue;
mod runner;

pub use clock::{Clock, TokioClock};
pub use queue::{Queue, Retry};
pub use runner::{Next, Reconciler, run};
