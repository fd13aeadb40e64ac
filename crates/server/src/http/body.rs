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
    /// With something that ends when the body does.
    Held {
        body: Box<Body>,
        _held: Box<dyn Send>,
    },
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

    /// The same body, with something that is dropped when it is.
    pub(crate) fn until_dropped(self, held: impl Send + 'static) -> Body {
        Body(Kind::Held {
            body: Box::new(self),
            _held: Box::new(held),
        })
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
            Kind::Held { body, .. } => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Held { body, .. } => body.is_end_stream(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Held { body, .. } => body.size_hint(),
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
