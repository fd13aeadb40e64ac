//! All controllers and the scheduler in one process with a real server, on a node that only exists as an object.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod foreign;
mod harness;
mod life;
mod migration;
mod policies;
mod protection;
mod quota;
mod rollout;
mod workloads;
