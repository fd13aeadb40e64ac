//! A connection: one task reads frames and hands them to their streams, one writes what streams and tasks have to say.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::frame::{self, Head};
use crate::headers::{Packer, Unpacker};
use crate::{Error, Headers};

/// How many pieces wait for a stream's reader before the connection does.
const WAITING: usize = 32;
/// The largest piece that is handed on or sent.
const PIECE: usize = 32 << 10;
/// How many streams may be open at a time.
const STREAMS: usize = 4096;

enum Out {
    Reply(u32),
    Data(u32, Bytes, bool),
    Reset(u32, u32),
    Ping(u32),
    GoAway(u32),
}

/// A connection whose client opens streams.
pub struct Session {
    opened: mpsc::Receiver<Stream>,
    out: mpsc::Sender<Out>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

/// A stream that the client has opened and nobody has answered yet.
pub struct Stream {
    id: u32,
    headers: Headers,
    pieces: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Out>,
}

/// What the client sends on a stream.
pub struct Reader(mpsc::Receiver<Bytes>);

/// What is sent to the client on a stream.
pub struct Writer {
    id: u32,
    out: mpsc::Sender<Out>,
}

impl Session {
    /// Takes over a connection that was upgraded.
    pub fn server<S>(connection: S) -> Session
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(connection);
        let (out, outgoing) = mpsc::channel(WAITING);
        let (open, opened) = mpsc::channel(WAITING);
        let incoming = Incoming {
            out: out.clone(),
            open,
            streams: HashMap::new(),
            unpacker: Unpacker::new(),
        };
        Session {
            opened,
            out,
            reading: tokio::spawn(async move {
                if let Err(error) = incoming.read(read).await {
                    tracing::debug!(%error, "a SPDY connection broke");
                }
            }),
            writing: tokio::spawn(async move {
                if let Err(error) = write_all(outgoing, write).await {
                    tracing::debug!(%error, "a SPDY connection broke");
                }
            }),
        }
    }

    /// The next stream that the client opens; `None` when it is gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Says goodbye and gives the client that long to read everything and go itself: to close a connection with unread
    /// input resets it, and the client may lose what it was just sent.
    pub async fn close(mut self, patience: Duration) {
        let _ = self.out.send(Out::GoAway(0)).await;
        let gone = async { while self.opened.recv().await.is_some() {} };
        let _ = tokio::time::timeout(patience, gone).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reading.abort();
        self.writing.abort();
    }
}

impl Stream {
    /// The stream's number; a client's are odd and grow.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A header of the stream.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Takes the stream.
    pub async fn accept(self) -> (Reader, Writer) {
        let _ = self.out.send(Out::Reply(self.id)).await;
        let writer = Writer {
            id: self.id,
            out: self.out,
        };
        (Reader(self.pieces), writer)
    }

    /// Refuses the stream.
    pub async fn refuse(self) {
        let _ = self.out.send(Out::Reset(self.id, frame::REFUSED)).await;
    }
}

impl Reader {
    /// The next bytes; `None` when the client has no more, or is gone.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

impl Writer {
    /// Sends bytes; false when the client is gone.
    pub async fn send(&self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            if self.out.send(Out::Data(self.id, piece, false)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Nothing more will be sent.
    pub async fn finish(self) {
        let _ = self.out.send(Out::Data(self.id, Bytes::new(), true)).await;
    }

    /// The stream is broken, in both directions.
    pub async fn reset(self) {
        let _ = self.out.send(Out::Reset(self.id, frame::CANCEL)).await;
    }
}

struct Incoming {
    out: mpsc::Sender<Out>,
    open: mpsc::Sender<Stream>,
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    unpacker: Unpacker,
}

impl Incoming {
    async fn read(mut self, mut from: impl AsyncRead + Unpin) -> Result<(), Error> {
        let mut head = [0; frame::HEAD];
        loop {
            match from.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            match Head::parse(&head)? {
                Head::Data { stream, fin, length } => self.data(&mut from, stream, fin, length).await?,
                Head::Control { kind, flags, length } => {
                    let mut body = vec![0; length];
                    from.read_exact(&mut body).await?;
                    if kind == frame::GOAWAY {
                        return Ok(());
                    }
                    self.control(kind, flags, &body).await?;
                }
            }
        }
    }

    /// Hands the bytes to the stream's reader as they come. For one who has no reader any more they are dropped.
    async fn data<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
        stream: u32,
        fin: bool,
        mut left: usize,
    ) -> Result<(), Error> {
        while left > 0 {
            let mut piece = BytesMut::with_capacity(left.min(PIECE));
            let read = (&mut *from).take(left.min(PIECE) as u64).read_buf(&mut piece).await?;
            if read == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            left -= read;
            if let Some(pieces) = self.streams.get(&stream) {
                let _ = pieces.send(piece.freeze()).await;
            }
        }
        if fin {
            self.streams.remove(&stream);
        }
        Ok(())
    }

    async fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<(), Error> {
        match kind {
            frame::SYN_STREAM => self.opened(flags, body).await?,
            // They share the memory of the compression, whatever is in them.
            frame::SYN_REPLY | frame::HEADERS => {
                self.unpacker.unpack(frame::header_block(kind, body)?)?;
                if flags & frame::FIN != 0 {
                    self.streams.remove(&frame::number(kind, body)?);
                }
            }
            frame::RST_STREAM => {
                self.streams.remove(&frame::number(kind, body)?);
            }
            frame::PING => {
                let _ = self.out.send(Out::Ping(frame::number(kind, body)?)).await;
            }
            // Settings and windows.
            _ => {}
        }
        Ok(())
    }

    async fn opened(&mut self, flags: u8, body: &[u8]) -> Result<(), Error> {
        let id = frame::number(frame::SYN_STREAM, body)?;
        let headers = self.unpacker.unpack(frame::header_block(frame::SYN_STREAM, body)?)?;
        self.streams.retain(|_, pieces| !pieces.is_closed());
        if id.is_multiple_of(2) || self.streams.contains_key(&id) {
            let _ = self.out.send(Out::Reset(id, frame::PROTOCOL_ERROR)).await;
            return Ok(());
        }
        if self.streams.len() >= STREAMS {
            let _ = self.out.send(Out::Reset(id, frame::REFUSED)).await;
            return Ok(());
        }
        let (sender, pieces) = mpsc::channel(WAITING);
        if flags & frame::FIN == 0 {
            self.streams.insert(id, sender);
        }
        let stream = Stream {
            id,
            headers,
            pieces,
            out: self.out.clone(),
        };
        // A session that isn't listened to any more takes no streams.
        let _ = self.open.send(stream).await;
        Ok(())
    }
}

async fn write_all(mut outgoing: mpsc::Receiver<Out>, mut to: impl AsyncWrite + Unpin) -> Result<(), Error> {
    let mut packer = Packer::new();
    let mut buffer = BytesMut::new();
    while let Some(first) = outgoing.recv().await {
        put(&mut buffer, first, &mut packer)?;
        // What waits besides goes out in the same write.
        while buffer.len() < PIECE {
            let Ok(next) = outgoing.try_recv() else { break };
            put(&mut buffer, next, &mut packer)?;
        }
        to.write_all(&buffer).await?;
        to.flush().await?;
        buffer.clear();
    }
    Ok(())
}

fn put(buffer: &mut BytesMut, out: Out, packer: &mut Packer) -> Result<(), Error> {
    match out {
        Out::Reply(id) => frame::control(buffer, frame::SYN_REPLY, &[id], &packer.pack(&[])?),
        Out::Data(id, bytes, fin) => {
            frame::data(buffer, id, bytes.len(), fin);
            buffer.extend_from_slice(&bytes);
        }
        Out::Reset(id, why) => frame::control(buffer, frame::RST_STREAM, &[id, why], &[]),
        Out::Ping(id) => frame::control(buffer, frame::PING, &[id], &[]),
        Out::GoAway(last) => frame::control(buffer, frame::GOAWAY, &[last, 0], &[]),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    async fn open(client: &mut DuplexStream, packer: &mut Packer, id: u32, kind: &str) {
        let mut out = BytesMut::new();
        let mut rest = vec![0; 2];
        rest.extend(packer.pack(&[("streamtype", kind)]).unwrap());
        frame::control(&mut out, frame::SYN_STREAM, &[id, 0], &rest);
        client.write_all(&out).await.unwrap();
    }

    async fn send(client: &mut DuplexStream, id: u32, bytes: &[u8], fin: bool) {
        let mut out = BytesMut::new();
        frame::data(&mut out, id, bytes.len(), fin);
        out.extend_from_slice(bytes);
        client.write_all(&out).await.unwrap();
    }

    async fn receive(client: &mut DuplexStream) -> (Head, Vec<u8>) {
        let mut head = [0; frame::HEAD];
        client.read_exact(&mut head).await.unwrap();
        let head = Head::parse(&head).unwrap();
        let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
        let mut body = vec![0; length];
        client.read_exact(&mut body).await.unwrap();
        (head, body)
    }

    #[tokio::test]
    async fn streams_are_apart_and_half_close() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut session = Session::server(server);
        let mut packer = Packer::new();
        open(&mut client, &mut packer, 1, "error").await;
        open(&mut client, &mut packer, 3, "data").await;
        let first = session.accept().await.unwrap();
        assert_eq!(first.header("streamtype"), Some("error"));
        let second = session.accept().await.unwrap();
        assert_eq!(second.header("streamtype"), Some("data"));
        let (mut errors, error_writer) = first.accept().await;
        let (mut data, writer) = second.accept().await;
        send(&mut client, 3, &vec![7; 100_000], true).await;
        send(&mut client, 1, b"", true).await;
        assert_eq!(errors.next().await, None);
        let mut total = 0;
        while let Some(piece) = data.next().await {
            total += piece.len();
        }
        assert_eq!(total, 100_000);
        assert!(writer.send(Bytes::from_static(b"answer")).await);
        writer.finish().await;
        error_writer.reset().await;
        for id in [1, 3] {
            let (head, body) = receive(&mut client).await;
            assert!(matches!(
                head,
                Head::Control {
                    kind: frame::SYN_REPLY,
                    ..
                }
            ));
            assert_eq!(frame::number(frame::SYN_REPLY, &body).unwrap(), id);
        }
        let (head, body) = receive(&mut client).await;
        assert!(
            matches!(
                head,
                Head::Data {
                    stream: 3,
                    fin: false,
                    ..
                }
            ) && body == b"answer"
        );
        let (head, _) = receive(&mut client).await;
        assert!(matches!(
            head,
            Head::Data {
                stream: 3,
                fin: true,
                length: 0
            }
        ));
        let (head, _) = receive(&mut client).await;
        assert!(matches!(
            head,
            Head::Control {
                kind: frame::RST_STREAM,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn pings_are_answered_and_the_end_is_told() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut session = Session::server(server);
        let mut out = BytesMut::new();
        frame::control(&mut out, frame::PING, &[9], &[]);
        client.write_all(&out).await.unwrap();
        let (head, body) = receive(&mut client).await;
        assert!(matches!(head, Head::Control { kind: frame::PING, .. }));
        assert_eq!(body, [0, 0, 0, 9]);
        drop(client);
        assert!(session.accept().await.is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_connection() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut session = Session::server(server);
        client
            .write_all(b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff")
            .await
            .unwrap();
        drop(client);
        assert!(session.accept().await.is_none());
    }
}
