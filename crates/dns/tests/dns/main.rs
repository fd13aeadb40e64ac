//! The DNS server by its sockets: raw questions in, messages out. The host's resolver is a thread of the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod forwarding;
mod names;
mod world;
