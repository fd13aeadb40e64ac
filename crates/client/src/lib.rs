//! How Gantry's own parts speak to a Kubernetes API: connections, informers, the retry policy, events.
//!
//! It works the same in the server's process, over HTTPS, and against any other Kubernetes cluster. It knows no kind
//! beyond the Events and the Leases that it writes, and it never caches a whole object: an informer keeps what its projection keeps.

mod backoff;
mod connect;
mod events;
mod informer;
mod leader;
mod objects;
mod write;

pub use backoff::Backoff;
pub use connect::{ConnectError, Reload, from_config, from_kubeconfig, in_process, reloadable};
pub use events::{EventType, Recorder, Regarding};
pub use informer::{Builder, Change, Changes, Informer};
pub use leader::lead;
pub use meta::ObjectKey;
pub use write::{is_conflict, is_exists, is_gone, is_not_found, is_transient};
