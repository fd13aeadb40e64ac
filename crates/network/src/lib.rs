//! A node's network: links and addresses of its pods, services in nf_tables, and what the host needs for both.
//!
//! It talks netlink and never runs a program. It knows no Kubernetes kind: whoever uses it translates into `SlotId`,
//! `ServiceTable` and the other types here. All names that it makes in the kernel carry the instance's id, so that
//! several instances live on one host and each removes exactly its own. Calls block for as long as the kernel takes,
//! a millisecond as a rule: call them from a thread that may wait.

mod attach;
mod config;
mod conntrack;
mod error;
mod fast;
mod forward;
mod host;
mod host_changes;
pub mod lab;
mod layout;
mod ledger;
mod link;
mod netlink;
mod netns;
mod network;
mod nft;
mod overlay;
mod services;
mod table;
#[cfg(test)]
mod tests;

pub use attach::{Attachment, GATEWAY, POD_LINK};
pub use config::{Config, InstanceId, SlotId};
pub use error::Error;
pub use host_changes::HostChanges;
pub use network::{Dump, Errors, Network, check_ranges, has_nf_tables, purge};
pub use overlay::{Peer, Reached, Trouble, Unreached};
pub use services::Applied;
pub use table::{Endpoint, LocalService, Protocol, Service, ServicePort, ServiceTable};
