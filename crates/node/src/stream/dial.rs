//! Connections to addresses that this machine reaches: pods, and itself. The body and the answer are the two directions'
//! bytes; the end of either is a half-close.

use std::net::SocketAddr;

use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::io::ReaderStream;
use tunnel::Body;

use super::text;

/// How much is read at a time.
const CHUNK: usize = 32 << 10;

/// Answers a request for a connection.
pub(super) async fn answer(to: Option<SocketAddr>, request: Request<Incoming>) -> Response<Body> {
    let Some(to) = to else {
        return text(StatusCode::BAD_REQUEST, "that is no address");
    };
    match TcpStream::connect(to).await {
        Ok(stream) => joined(stream, request.into_body()),
        Err(error) => text(StatusCode::BAD_GATEWAY, format!("dial tcp {to}: {error}")),
    }
}

/// A connection as the answer to a request whose body goes the other way.
pub(super) fn joined(stream: TcpStream, body: Incoming) -> Response<Body> {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    tokio::spawn(upload(body, write));
    Response::new(download(read))
}

fn download(read: OwnedReadHalf) -> Body {
    let pieces = ReaderStream::with_capacity(read, CHUNK);
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

async fn upload(body: Incoming, mut write: OwnedWriteHalf) {
    let mut pieces = BodyStream::new(body);
    while let Some(Ok(piece)) = pieces.next().await {
        let Ok(data) = piece.into_data() else { continue };
        if write.write_all(&data).await.is_err() {
            // What still comes is read, so that the other direction isn't broken off.
            while let Some(Ok(_)) = pieces.next().await {}
            return;
        }
    }
    let _ = write.shutdown().await;
}
