//! Frames of a node's answer, one after the other.

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio_util::codec::Decoder as _;
use tunnel::frame::{Codec, Frame};

/// The frames of a body.
pub(super) struct FromNode {
    body: Incoming,
    buffer: BytesMut,
}

impl FromNode {
    pub(super) fn new(body: Incoming) -> FromNode {
        FromNode {
            body,
            buffer: BytesMut::new(),
        }
    }

    /// The next frame; `None` when the node has no more to say, or is gone.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Ok(Some(frame)) = Codec.decode(&mut self.buffer) {
                return Some(frame);
            }
            let piece = self.body.frame().await?.ok()?;
            self.buffer.extend_from_slice(&piece.into_data().unwrap_or_default());
        }
    }
}
