//! Watch caches: the newest version of every object of a resource in memory, and a short history of changes that any
//! number of watchers read through cursors of their own.
//!
//! What holds: one feed of the store fills all caches, in order; a version's bytes are kept once and never copied; an
//! encoding of an event is made once for all its watchers; a list and the watch that follows it lose nothing between
//! them. What bytes mean is the caller's affair: no JSON, no kind and no HTTP may ever be in here.
//!
//! ```text
//! let hub = Hub::start(store).await?;
//! let pods = hub.cache("/registry/core/pods/", projector).await?;
//! pods.fresh().await?;                                          // a consistent read
//! let list = pods.list(&Scope::namespace("default"));           // no bytes are copied
//! let mut watcher = pods.watch(list.revision(), Selection::new(Scope::namespace("default")))?;
//! let delivery = watcher.next().await?;
//! let line = delivery.encoded(JSON, |delivery| encode(delivery))?;  // once for all watchers
//! ```

mod cache;
mod encodings;
mod error;
mod event;
mod hub;
mod ring;
mod scope;
mod shelf;
mod snapshot;
mod version;
mod watcher;

pub use cache::Cache;
pub use encodings::Slot;
pub use error::Error;
pub use event::{Delivery, Event, Kind};
pub use hub::{Hub, Options};
pub use scope::{Filter, Scope, Selection};
pub use snapshot::Snapshot;
pub use store::Key;
pub use version::{Projection, Projector, Version};
pub use watcher::Watcher;
