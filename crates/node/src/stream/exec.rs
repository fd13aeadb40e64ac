//! Exec: a process in a running container, its streams framed through the tunnel.

use std::sync::Arc;

use engine::{Exec, ExecSpec, Exit, State};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder as _;
use tokio_util::sync::CancellationToken;
use tunnel::Body;
use tunnel::frame::{self, Codec, Frame};

use super::pipe::{Reader, Writer};
use super::{query_flag, query_values, text};
use crate::pods::Context;
use crate::pods::start::label;

type Sender = mpsc::Sender<std::io::Result<hyper::body::Frame<bytes::Bytes>>>;

/// Answers a request to run a program. The answer streams until the program has ended.
pub(super) async fn answer(
    ctx: &Arc<Context>,
    request: Request<Incoming>,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Response<Body> {
    let Some(found) = ctx.pods.find(namespace, pod) else {
        return text(
            StatusCode::NOT_FOUND,
            format!("pod {namespace}/{pod} is not on this node"),
        );
    };
    let uid = found.metadata.uid.as_deref().unwrap_or_default();
    let has = |c: &engine::Container, key: &str, value: &str| c.labels.iter().any(|(k, v)| k == key && v == value);
    let running = ctx.engine.containers().into_iter().find(|c| {
        has(c, label::POD_UID, uid) && has(c, label::CONTAINER, container) && matches!(c.state, State::Running(_))
    });
    let Some(running) = running else {
        return text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"));
    };
    let tty = query_flag(&request, "tty");
    let spec = ExecSpec {
        args: query_values(&request, "command"),
        tty,
        stdin: query_flag(&request, "stdin"),
        ..ExecSpec::default()
    };
    if spec.args.is_empty() {
        return text(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 command for the container",
        );
    }
    let (sender, receiver) = mpsc::channel(16);
    match ctx.engine.exec(&running.id, spec).await {
        Ok(exec) => {
            tokio::spawn(run(exec, request.into_body(), sender));
        }
        Err(error) => {
            // The streams are open by now in the client's eyes; the answer goes where exit codes go.
            let status = failure(&format!("error executing command in container: {error}"));
            let _ = sender.try_send(Ok(framed(frame::ERROR, status)));
        }
    }
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Response::new(StreamBody::new(stream).boxed_unsync())
}

async fn run(mut exec: Exec, body: Incoming, sender: Sender) {
    let over = CancellationToken::new();
    let stdout = exec.stdout.take().and_then(|fd| Reader::new(fd).ok());
    let stderr = exec.stderr.take().and_then(|fd| Reader::new(fd).ok());
    let stdin = exec.stdin.take().and_then(|fd| Writer::new(fd).ok());
    let (resizes, mut sizes) = mpsc::channel(4);
    let input = tokio::spawn(read_input(body, stdin, resizes, over.clone()));
    let output = async {
        tokio::join!(
            copy(stdout, frame::STDOUT, &sender),
            copy(stderr, frame::STDERR, &sender)
        );
    };
    let wait = async {
        loop {
            tokio::select! {
                exit = exec.wait() => return exit,
                Some((rows, columns)) = sizes.recv() => {
                    if let Err(error) = exec.resize(rows, columns) {
                        tracing::debug!(%error, "resizing a terminal");
                    }
                }
                // The client is gone: dropping the process ends it.
                () = over.cancelled() => return Err(engine::Error::Unsupported("a client that went away".into())),
                () = sender.closed() => return Err(engine::Error::Unsupported("a client that went away".into())),
            }
        }
    };
    let both = async { tokio::join!(wait, output) };
    let (exit, ()) = both.await;
    match exit {
        Ok(exit) => drop(sender.send(Ok(framed(frame::ERROR, outcome(exit)))).await),
        Err(error) => tracing::debug!(%error, "a program ended without a result"),
    }
    input.abort();
}

async fn copy(reader: Option<Reader>, channel: u8, sender: &Sender) {
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

/// Frames of the client: input, its end, and the terminal's size.
async fn read_input(
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

fn framed(channel: u8, text: String) -> hyper::body::Frame<bytes::Bytes> {
    hyper::body::Frame::data(Frame::new(channel, text.into_bytes()).encode())
}

/// The `Status` that tells a client the exit code.
fn outcome(exit: Exit) -> String {
    if exit.code == 0 {
        return json!({"metadata": {}, "status": "Success"}).to_string();
    }
    json!({"metadata": {}, "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {}", exit.code),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": exit.code.to_string()}]}})
    .to_string()
}

fn failure(message: &str) -> String {
    json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}).to_string()
}
