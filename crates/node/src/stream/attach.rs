//! Attach: the streams of a container's first process, from now on.

use std::sync::Arc;

use engine::{Attached, ContainerId};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tunnel::{Body, frame};

use super::frames::{Sender, copy, framed, read_input, streaming, success};
use super::pipe::{Reader, Writer};
use super::{query_flag, running, text};
use crate::pods::Context;

/// Answers a request to attach. The answer streams until the container has ended or the client has gone, which does
/// nothing to the container but end its input, if it is one that takes it once.
pub(super) async fn answer(
    ctx: &Arc<Context>,
    request: Request<Incoming>,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Response<Body> {
    let id = match running(ctx, namespace, pod, container) {
        Ok(running) => running.id,
        Err(why) => return text(StatusCode::NOT_FOUND, why),
    };
    let input = query_flag(&request, "stdin");
    match ctx.engine.attach(&id, input).await {
        Ok(attached) => {
            let (sender, response) = streaming();
            tokio::spawn(run(ctx.clone(), id, attached, request.into_body(), sender));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("attaching: {error}")),
    }
}

async fn run(ctx: Arc<Context>, id: ContainerId, attached: Attached, body: Incoming, sender: Sender) {
    let over = CancellationToken::new();
    let stdout = Reader::new(attached.stdout).ok();
    let stderr = attached.stderr.and_then(|fd| Reader::new(fd).ok());
    let stdin = attached.stdin.and_then(|fd| Writer::new(fd).ok());
    let (resizes, mut sizes) = mpsc::channel(4);
    let input = tokio::spawn(read_input(body, stdin, resizes, over.clone()));
    let output = async {
        tokio::join!(
            copy(stdout, frame::STDOUT, &sender),
            copy(stderr, frame::STDERR, &sender)
        );
    };
    let resizing = async {
        while let Some((rows, columns)) = sizes.recv().await {
            if let Err(error) = ctx.engine.resize(&id, rows, columns).await {
                tracing::debug!(%error, "resizing a terminal");
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // The shim closes the outputs when the container has ended.
        () = output => drop(sender.send(Ok(framed(frame::ERROR, success()))).await),
        () = resizing => {}
        () = over.cancelled() => {}
        () = sender.closed() => {}
    }
    input.abort();
}
