//! The API server: authentication, authorization, admission, the one generic path for all resources, discovery,
//! OpenAPI, and the keys and certificates behind it.
//!
//! What holds: every request, also one from inside of the process, goes through all of it under a named identity. No
//! kind has a handler of its own; what differs between kinds is in `api`. Nothing outside of this crate and the watch
//! caches touches the store.

mod admission;
mod aggregation;
mod allocate;
mod audit;
mod authn;
mod authz;
mod bootstrap;
mod callout;
mod changes;
mod config;
mod core;
mod encryption;
mod endpoints;
mod error;
mod exposition;
mod extensions;
mod fairness;
mod file_changes;
mod handle;
mod http;
mod internal;
mod kinds;
pub mod kubeconfig;
mod metrics;
mod mounted;
mod object;
mod peers;
pub mod pki;
mod registration;
mod reloads;
mod rest;
mod runtime;
mod server;
mod service;
mod status;
mod traces;
mod user;
mod wire;

pub use self::http::Body;
pub use admission::{AdmissionSettings, EventLimit, EventLimitBy, PodSecuritySettings, SettingsError};
pub use audit::{AuditSettings, Level, LogSettings, Policy as AuditPolicy, Stage, WebhookSettings};
pub use authn::{AuthenticationSettings, OidcSettings, RequestHeaderSettings};
pub use config::Config;
pub use encryption::EncryptionSettings;
pub use error::Error;
pub use mounted::{Answer, Mounted};
pub use runtime::RuntimeConfig;
pub use server::Server;
pub use service::Service;
pub use traces::TracingSettings;
pub use user::User;
