//! The parts that need no etcd, and what needs one: `cargo test -p store etcd -- --ignored`, with its URL in
//! `GANTRY_TEST_ETCD`. `cargo xtask clients etcd` brings one.

mod parts;
mod real;
mod traced;
