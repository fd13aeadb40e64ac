//! The static programs that Gantry carries, and the formats that they share with the engine.
//!
//! Each program stands on `core` alone: no allocator, no libc, a few KB. They run beside or inside of containers of any
//! image, so they must never need a file, a library or an environment.

pub mod cri;
pub mod message;
pub mod plan;

/// Starts a container or a further process in one, then stays as its parent.
pub const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim"));
/// The first process of a process namespace that several containers share.
pub const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
/// The demo: a web server that greets with its host's name.
pub const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
/// For tests: tells what it finds about itself inside a container, and does a few things on demand.
pub const REPORT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/report"));
