//! The network against the real kernel. Each test has a world of its own in fresh network namespaces: a host, pods,
//! and a machine outside. The machine that runs the tests is not touched.

mod fast;
mod host;
mod machines;
mod measure;
mod peers;
mod pods;
mod rolling;
mod services;
mod throughput;
mod world;
