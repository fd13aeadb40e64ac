//! Gantry's container engine: turns OCI bundles into processes in namespaces and cgroups, each watched by a shim that
//! outlives the caller.
//!
//! A bundle is compiled purely into a plan, a flat program of steps; a static program carries it out inside the new
//! container. Nothing in here knows a Kubernetes kind, and nothing forks the calling process.

mod api;
pub mod bundle;
mod cgroup;
mod channel;
mod container;
mod engine;
mod error;
mod exec;
mod launch;
mod namespaces;
mod plan;
mod sandbox;
mod seccomp;
mod state;

pub use api::{
    Attached, Claim, Config, Container, ContainerId, ContainerSpec, Event, ExecSpec, Exit, Limits, LogSpec, Namespaces,
    RootFs, Sandbox, SandboxId, Started, State, Stats, Withheld,
};
pub use engine::Engine;
pub use error::{Error, Result};
pub use exec::Exec;
pub use namespaces::private_mounts;
pub use seccomp::default_profile;

pub(crate) fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
