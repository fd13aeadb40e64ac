//! What tests of several rooms share: counted leftovers, and machines with links that can fail. Nothing of it is in the
//! product, and nothing of it outlives a test.

pub mod ask;
pub mod cluster;
pub mod golden;
mod interface;
pub mod leaks;
pub mod namespace;
pub mod pool;
pub mod program;
pub mod seed;
pub mod tables;
pub mod world;
