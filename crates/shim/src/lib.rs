//! The static programs that Gantry carries, and the formats that they share with the engine.
//!
//! Each program stands on `core` alone: no allocator, no libc, a few KB. They run beside or inside of containers of any
//! image, so they must never need a file, a library or an environment.

/// The first process of a process namespace that several containers share.
pub const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
