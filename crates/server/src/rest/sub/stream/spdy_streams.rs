//! A command's streams as SPDY streams, one for each of input, outputs, errors and sizes.

use std::time::Duration;

use bytes::Bytes;
use futures::future::OptionFuture;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use spdy::{Reader, Session, Writer};
use tunnel::frame::{CLOSE, ERROR, Frame, RESIZE, STDERR, STDIN, STDOUT};

use super::{Asked, NodeEnds, message_of};

/// How long a client may take to open the streams that it asked for.
const OPENING: Duration = Duration::from_secs(30);
/// How long a client may take to answer that all is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Streams {
    stdin: Option<Reader>,
    resize: Option<Reader>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    error: Option<Writer>,
}

/// Copies both ways until the node is done or the client is gone.
pub(super) async fn join(client: Upgraded, version: u8, asked: Asked, ends: NodeEnds) {
    let mut session = Session::server(TokioIo::new(client));
    let expected = 1 + [asked.stdin, asked.stdout, asked.stderr, asked.tty && version >= 3]
        .into_iter()
        .filter(|wanted| *wanted)
        .count();
    let opening = tokio::time::timeout(OPENING, open(&mut session, expected));
    let Ok(Some(mut streams)) = opening.await else {
        return tracing::debug!("a client did not open the streams that it asked for");
    };
    let NodeEnds { to_node, mut from_node } = ends;
    let (stdin, resize) = (streams.stdin.take(), streams.resize.take());
    let up = async {
        let input = async {
            copy(stdin, STDIN, &to_node).await;
            if asked.stdin {
                let _ = to_node.send(Frame::new(CLOSE, vec![STDIN]).encode()).await;
            }
        };
        tokio::join!(input, copy(resize, RESIZE, &to_node));
    };
    let down = async {
        while let Some(frame) = from_node.next().await {
            let to = match frame.channel {
                STDOUT => &streams.stdout,
                STDERR => &streams.stderr,
                ERROR => {
                    tell(&streams, version, frame.data).await;
                    break;
                }
                _ => &None,
            };
            if let Some(to) = to
                && !to.send(frame.data).await
            {
                return;
            }
        }
        for writer in [streams.stdout.take(), streams.stderr.take(), streams.error.take()] {
            OptionFuture::from(writer.map(Writer::finish)).await;
        }
    };
    let gone = async { while session.accept().await.is_some() {} };
    tokio::select! {
        () = down => {}
        // The client is gone; the node learns it by the end of its input.
        () = gone => return,
        // Input that has ended leaves the outputs to go on.
        () = async { up.await; std::future::pending().await } => {}
    }
    session.close(LAST_WORDS).await;
}

/// Takes streams until there are as many as were asked for.
async fn open(session: &mut Session, expected: usize) -> Option<Streams> {
    let mut streams = Streams::default();
    for _ in 0..expected {
        let stream = session.accept().await?;
        let kind = stream.header("streamtype").unwrap_or_default().to_owned();
        let (reader, writer) = stream.accept().await;
        match kind.as_str() {
            "stdin" => streams.stdin = Some(reader),
            "resize" => streams.resize = Some(reader),
            "stdout" => streams.stdout = Some(writer),
            "stderr" => streams.stderr = Some(writer),
            "error" => streams.error = Some(writer),
            other => tracing::debug!(other, "a stream of an unknown type"),
        }
    }
    Some(streams)
}

async fn copy(from: Option<Reader>, channel: u8, to_node: &tokio::sync::mpsc::Sender<Bytes>) {
    let Some(mut from) = from else { return };
    while let Some(bytes) = from.next().await {
        // A node that is done takes no more.
        if to_node.send(Frame::new(channel, bytes).encode()).await.is_err() {
            return;
        }
    }
}

/// How it ended: a `Status`, which is told as a message before version 4.
async fn tell(streams: &Streams, version: u8, status: Bytes) {
    let Some(error) = &streams.error else { return };
    let bytes = match version {
        4.. => Some(status),
        _ => message_of(&status).map(Bytes::from),
    };
    if let Some(bytes) = bytes {
        error.send(bytes).await;
    }
}
