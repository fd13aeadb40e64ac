//! The body of an answer: bytes that are there already, pieces made as the client takes them, or a stream of events.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

/// A request's body before it is read.
pub(crate) type Incoming = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A piece of a body, or why there are no more.
pub(crate) type Piece = Result<Bytes, io::Error>;

/// The body of an answer.
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    Pieces(Box<dyn Iterator<Item = Bytes> + Send>),
    Stream(Pin<Box<dyn Stream<Item = Piece> + Send>>),
    Foreign(hyper::body::Incoming),
}

impl Body {
    /// Nothing.
    pub(crate) fn empty() -> Body {
        Body(Kind::Full(None))
    }

    /// All of it at once.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
        Body(Kind::Full(Some(bytes.into())))
    }

    /// Made piece by piece, as fast as the client reads.
    pub(crate) fn pieces(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
        Body(Kind::Pieces(Box::new(pieces)))
    }

    /// Made as things happen.
    pub(crate) fn stream(stream: impl Stream<Item = Piece> + Send + 'static) -> Body {
        Body(Kind::Stream(Box::pin(stream)))
    }

    /// Another server's answer, passed on.
    pub(crate) fn foreign(body: hyper::body::Incoming) -> Body {
        Body(Kind::Foreign(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Pieces(pieces) => Poll::Ready(pieces.next().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => {
                let piece = ready!(stream.as_mut().poll_next(cx));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
            Kind::Foreign(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}

/// Any body as the one type that the inside knows.
pub(crate) fn incoming<B>(body: B) -> Incoming
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}
