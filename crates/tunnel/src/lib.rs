//! The connection that a node opens to the server, on which the server then calls the node: logs, exec and what else a
//! kubelet serves. It carries HTTP/2 with the roles turned, over an upgraded HTTPS connection.
//!
//! It knows bytes, frames and paths' existence only: no kind, no authentication, no policy. Who may open a tunnel is
//! the server's to say, and what the paths mean is the node's.

mod accept;
mod dial;
mod error;
pub mod frame;
mod registry;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub use accept::{Link, accept};
pub use dial::{dial, serve};
pub use error::Error;
pub use registry::{Registration, Registry};

/// Where on the server a node opens its tunnel.
pub const PATH: &str = "/gantry/v1/tunnel";

/// The name of the protocol in the `Upgrade` header. It is a released format: a new server takes old nodes.
pub const PROTOCOL: &str = "gantry-tunnel-v1";

/// A body that streams, in either direction.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
