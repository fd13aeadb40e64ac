//! All controllers and the scheduler in one process with a real server, on a node that only exists as an object.

mod harness;
mod life;
mod rollout;
