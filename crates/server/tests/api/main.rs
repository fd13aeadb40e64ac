//! The whole server on an embedded store: in-process and over TLS, by kube-rs and by bare requests.

#![allow(clippy::unwrap_used)]

mod access;
mod network;
mod objects;
mod streams;
mod watching;
mod world;
