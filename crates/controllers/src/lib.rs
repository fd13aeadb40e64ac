//! The controllers: each brings one aspect of the cluster from what is wanted to what is.
//!
//! A controller is a folder: `mod.rs` acts, `plan.rs` is pure, `tests.rs` has its golden scenarios. It gets keys, reads
//! the shared world (one watch per kind), and writes under an identity of its own by creating, patching and deleting;
//! it never writes back an object that it read, and never sees the store.

mod accounts;
mod children;
mod conditions;
mod cronjob;
mod csr;
mod daemonset;
mod deployment;
mod discover;
mod disruption;
mod endpoints;
mod expect;
mod gc;
mod history;
mod ipam;
mod job;
mod migration;
mod mirror;
mod namespace;
mod nodes;
mod owner;
mod podgc;
mod policies;
mod protection;
mod quota;
mod replicaset;
mod start;
mod statefulset;
#[cfg(test)]
mod testing;
mod tokens;
mod world;
mod write;

pub use start::{Config, SHARED_IDENTITY, SigningKey, run};
