//! What can go wrong with a tunnel.

/// Why a tunnel could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP exchange itself failed.
    #[error("the tunnel's connection failed")]
    Http(#[from] hyper::Error),
    /// The server answered something else than the upgrade.
    #[error("the server refused the tunnel with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: http::StatusCode,
        /// The beginning of the answer's body.
        message: String,
    },
    /// The request for the upgrade could not be built.
    #[error("the tunnel's request is malformed")]
    Request(#[from] http::Error),
    /// No tunnel of that node is open now.
    #[error("node {0:?} has no open connection to the server")]
    NotConnected(String),
}
