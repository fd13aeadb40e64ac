//! Black box: the real binary on an empty directory, driven by a client that knows nothing of it but Kubernetes' API,
//! and by its command line. Nothing in here may look into the house by another door.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(clippy::large_futures, reason = "there is one of each")]

mod building;
mod certificates;
mod disk;
mod first_light;
mod house;
mod instances;
mod interruptions;
mod mutations;
mod outage;
mod preconditions;
#[path = "../crates/image/tests/registry/mod.rs"]
#[allow(dead_code, reason = "the pulls' own tests need more of it")]
mod registry;
mod rolling;
mod rounds;
mod stage;
mod web;
