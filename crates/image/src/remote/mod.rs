//! Talking to registries, by the OCI distribution specification: which hosts are asked for a name, how they are
//! reached, who asks, and the requests themselves.
//!
//! Credentials go to the host that they are for and to the token service that it names, never along a redirect to
//! another host.

mod auth;
mod connect;
mod credentials;
mod download;
mod hosts;
mod proxy;
mod registry;
mod session;
mod transport;
mod url;

pub use credentials::{Credential, Keyring};
pub use download::download;
pub use hosts::{Cluster, Hosts};

pub(crate) use hosts::{Endpoint, Purpose};
pub(crate) use registry::{Found, Registry};
pub(crate) use session::Session;
