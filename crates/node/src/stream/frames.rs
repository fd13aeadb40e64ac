//! The streams of a program as frames through the tunnel, for exec and attach alike.

use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder as _;
use tokio_util::sync::CancellationToken;
use tunnel::Body;
use tunnel::frame::{self, Codec, Frame};

use super::pipe::{Reader, Writer};

/// How many frames may wait for a slow client.
const WAITING: usize = 16;

/// Where frames for the client go.
pub(super) type Sender = mpsc::Sender<std::io::Result<hyper::body::Frame<Bytes>>>;

/// An answer that streams what is sent.
pub(super) fn streaming() -> (Sender, Response<Body>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    (sender, Response::new(StreamBody::new(stream).boxed_unsync()))
}

/// A frame of text.
pub(super) fn framed(channel: u8, text: String) -> hyper::body::Frame<Bytes> {
    hyper::body::Frame::data(Frame::new(channel, text.into_bytes()).encode())
}

/// Sends everything that can be read.
pub(super) async fn copy(reader: Option<Reader>, channel: u8, sender: &Sender) {
    let Some(reader) = reader else { return };
    while let Ok(Some(bytes)) = reader.next().await {
        if sender
            .send(Ok(hyper::body::Frame::data(Frame::new(channel, bytes).encode())))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Frames of the client: input, its end, and the terminal's size. `over` is cancelled when the client broke off.
pub(super) async fn read_input(
    body: Incoming,
    mut stdin: Option<Writer>,
    resizes: mpsc::Sender<(u16, u16)>,
    over: CancellationToken,
) {
    let mut chunks = BodyStream::new(body);
    let mut buffer = bytes::BytesMut::new();
    let mut codec = Codec;
    loop {
        match codec.decode(&mut buffer) {
            Ok(Some(frame)) => match frame.channel {
                frame::STDIN => {
                    if let Some(writer) = &stdin
                        && writer.write_all(&frame.data).await.is_err()
                    {
                        stdin = None;
                    }
                }
                frame::CLOSE if frame.data.first() == Some(&frame::STDIN) => stdin = None,
                frame::RESIZE => {
                    if let Some(size) = size(&frame.data) {
                        let _ = resizes.send(size).await;
                    }
                }
                _ => {}
            },
            Ok(None) => match chunks.next().await {
                Some(Ok(chunk)) => {
                    if let Ok(data) = chunk.into_data() {
                        buffer.extend_from_slice(&data);
                    }
                }
                // The request's end is the end of input; a broken one is a client that is gone.
                None => return,
                Some(Err(_)) => return over.cancel(),
            },
            Err(_) => return over.cancel(),
        }
    }
}

/// `{"Width": 80, "Height": 24}` as rows and columns.
fn size(data: &[u8]) -> Option<(u16, u16)> {
    let value: serde_json::Value = serde_json::from_slice(data).ok()?;
    let field = |name: &str| u16::try_from(value.get(name)?.as_u64()?).ok();
    Some((field("Height")?, field("Width")?))
}

/// The `Status` of something that went well.
pub(super) fn success() -> String {
    json!({"metadata": {}, "status": "Success"}).to_string()
}

/// The `Status` of something that went wrong.
pub(super) fn failure(message: &str) -> String {
    json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}).to_string()
}
