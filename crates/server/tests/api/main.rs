//! The whole server on an embedded store: in-process and over TLS, by kube-rs and by bare requests.

#![allow(clippy::unwrap_used)]
// A whole definition of a custom resource is one deep literal.
#![recursion_limit = "256"]

mod access;
mod aggregation;
mod audit;
mod conversion;
mod custom;
mod encryption;
mod extension;
mod fairness;
mod golden;
mod hook;
mod kms;
mod limits;
mod network;
mod objects;
mod oidc;
mod plugins;
mod pod_security;
mod policies;
mod proxies;
mod quota;
mod several;
mod streams;
mod versions;
mod watching;
mod webhooks;
mod world;
