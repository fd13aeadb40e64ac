//! Why a node can't start or go on.

use std::path::{Path, PathBuf};

/// A failure of the node as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the node.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The node's credentials.
    #[error("{doing} {}: {reason}", path.display())]
    Credentials {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The cluster signed no certificate for the node.
    #[error("node {node} got no certificate: {reason}")]
    NoCertificate {
        /// The node's name.
        node: String,
        /// Why.
        reason: String,
    },
    /// Its certificate is over, and the token by which it once joined is gone.
    #[error("the certificate of node {0} has expired; `gantry leave --force`, then join again with a new token")]
    Expired(String),
    /// The API refused something that the node can't do without.
    #[error("{doing}")]
    Api {
        /// What was tried.
        doing: &'static str,
        /// What the API said.
        source: kube::Error,
    },
    /// The server's address or its answer makes no sense.
    #[error("{0}")]
    Server(String),
    /// The instance's id can't be part of names in the kernel.
    #[error("{0:?} is not an instance id")]
    Instance(String),
    /// No connection to the API.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The network.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// The image store.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The DNS server.
    #[error(transparent)]
    Dns(#[from] dns::Error),
}

impl Error {
    pub(crate) fn credentials(doing: &'static str, path: &Path, reason: impl ToString) -> Self {
        Error::Credentials {
            doing,
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}
