//! The DNS server by its sockets: raw questions in, messages out. The host's resolver is a thread of the test.

mod forwarding;
mod names;
mod world;
