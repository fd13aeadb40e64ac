//! Cluster DNS: the names of services and their endpoints, and everything else from the host's resolvers.
//!
//! Whoever runs it puts services into the zone as they come and go; it follows the DNS specification of Kubernetes
//! (schema 1.1.0) without knowing any of its kinds. The wire format is hickory-proto's, server and forwarder are ours.

mod answer;
mod cache;
mod forward;
mod records;
mod resolv;
mod server;
mod zone;

pub use records::{Endpoint, Kind, Port, Protocol, Service};
pub use server::{Config, Counters, Dns, Error};
pub use zone::Zone;
