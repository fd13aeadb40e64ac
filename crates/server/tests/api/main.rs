//! The whole server on an embedded store: in-process and over TLS, by kube-rs and by bare requests.

#![allow(clippy::unwrap_used)]
// A whole definition of a custom resource is one deep literal.
#![recursion_limit = "256"]

mod access;
mod conversion;
mod custom;
mod hook;
mod network;
mod objects;
mod policies;
mod streams;
mod watching;
mod webhooks;
mod world;
