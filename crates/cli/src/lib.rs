//! The command line: what users type, and what they read.
//!
//! Commands work on an instance's directory and on the API as any client would. Nothing in here is part of the server
//! or the node; how those two are started as processes is the binary's business.

pub mod args;
pub mod audit;
pub mod authentication;
pub mod build;
pub mod demo;
pub mod down;
pub mod drain;
pub mod encryption;
pub mod front_proxy;
pub mod image;
pub mod instance;
pub mod join;
pub mod kubeconfig;
pub mod leave;
mod nodes;
pub mod preflight;
pub mod process;
pub mod progress;
pub mod status;
pub mod store;
pub mod token;
pub mod traces;
pub mod up;
pub mod wait;

pub use args::{Cli, Command};
pub use instance::{Instance, Settings};

/// The version that `gantry version` prints.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The Kubernetes API that it speaks.
pub const KUBERNETES: &str = "v1.37.2";
