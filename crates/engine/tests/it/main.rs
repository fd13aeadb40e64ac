//! Real containers, made from the carried `report` program. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod exec;
mod faults;
mod harness;
mod inside;
mod life;
mod restart;
mod streams;
