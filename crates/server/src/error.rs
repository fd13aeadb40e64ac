//! Why a server doesn't start.

use crate::pki;

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys or certificates can't be had.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// The settings of admission can't be used.
    #[error(transparent)]
    Admission(#[from] crate::admission::SettingsError),
    /// The audit log can't be opened.
    #[error("opening the audit log {path}")]
    AuditLog {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What says who is believed can't be used.
    #[error("the authentication configuration: {0}")]
    Authentication(String),
    /// What says how things are encrypted at rest can't be used.
    #[error("the encryption configuration {}: {why}", file.display())]
    Encryption {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Audit events can't be sent where they should be.
    #[error("the audit webhook: {0}")]
    AuditWebhook(String),
    /// Traces can't be sent where they should be.
    #[error("the tracing configuration: endpoint: {0}")]
    Tracing(String),
    /// The store can't be read.
    #[error("reading the store")]
    Watch(#[from] watch::Error),
    /// The schema table lacks a kind that the server itself needs.
    #[error("the schema table has no {0}")]
    MissingKind(&'static str),
    /// One of the objects that every cluster has could not be made.
    #[error("making {what}: {status}")]
    Bootstrap {
        /// Which object.
        what: String,
        /// The server's own answer.
        status: Box<meta::Status>,
    },
}
