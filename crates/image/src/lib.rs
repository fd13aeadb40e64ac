//! Images on this machine: names, content, unpacked layers, import and build.
//!
//! The store is a directory that several processes may use at once: the node reads it while the command line imports.
//! Everything gets its name by rename once it is whole and on the disk, and only removal takes the lock alone.
//!
//! Nothing in here knows a Kubernetes kind, and nothing runs a container.

mod archive;
mod blob;
mod build;
mod error;
mod layer;
mod reference;
mod spec;
mod store;
mod unpack;

pub use archive::Imported;
pub use build::{Built, Event, Failure, Host, Job, JobMount, Network, Options, Progress, Room, Source, Stream};
pub use error::{Error, Result};
pub use layer::Layer;
pub use reference::{InvalidReference, Reference};
pub use spec::{Descriptor, History, ImageConfig, Manifest, Platform, RootFs, RunConfig, host_platform};
pub use store::{Image, Store, Summary};
