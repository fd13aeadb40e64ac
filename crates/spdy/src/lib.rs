//! SPDY/3.1, the side that accepts streams: what older Kubernetes clients multiplex exec, attach and port-forward
//! over.
//!
//! It knows frames, streams and their headers; what a stream is for is the caller's to say. There is no flow control by
//! windows, because the clients in use know none: a stream that isn't read holds up its connection when its buffer is
//! full.

mod dictionary;
mod error;
mod frame;
mod headers;
mod session;

pub use error::Error;
pub use headers::Headers;
pub use session::{Reader, Session, Stream, Writer};
