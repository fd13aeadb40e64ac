//! Images on this machine: names, content, unpacked layers; pull, push, import, export and build.
//!
//! The store is a directory that several processes may use at once: the node reads it while the command line imports.
//! Everything gets its name by rename once it is whole and on the disk, and only removal takes the lock alone.
//!
//! Nothing in here knows a Kubernetes kind, and nothing runs a container.

mod archive;
mod blob;
mod build;
mod claim;
mod error;
mod export;
mod layer;
mod pull;
mod push;
mod reference;
mod remote;
mod remove;
mod repository;
mod spec;
mod store;
mod unpack;

pub use archive::Imported;
pub use build::{Built, Event, Failure, Host, Job, JobMount, Network, Options, Progress, Room, Source, Stream};
pub use error::{Error, Result};
pub use layer::Layer;
pub use pull::{LayerState, Pulled, Quiet, Transfer, TransferOptions, TransferProgress};
pub use push::Pushed;
pub use reference::{InvalidReference, Reference};
pub use remote::{Cluster, Credential, Hosts, Keyring, download};
pub use remove::{InUse, Removed};
pub use repository::{Refused, Repository, Stored, Upload};
pub use spec::{Descriptor, History, ImageConfig, Manifest, Platform, RootFs, RunConfig, host_platform};
pub use store::{Image, Origin, Store, Summary};
