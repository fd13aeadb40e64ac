//! Exec: a process in a running container, its streams framed through the tunnel.

use std::sync::Arc;

use engine::{Exec, ExecSpec, Exit};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tunnel::{Body, frame};

use super::frames::{Sender, copy, failure, framed, read_input, streaming, success};
use super::pipe::{Reader, Writer};
use super::{query_flag, query_values, running, text};
use crate::pods::Context;

/// Answers a request to run a program. The answer streams until the program has ended.
pub(super) async fn answer(
    ctx: &Arc<Context>,
    request: Request<Incoming>,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Response<Body> {
    let running = match running(ctx, namespace, pod, container) {
        Ok(running) => running,
        Err(why) => return text(StatusCode::NOT_FOUND, why),
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
    let (sender, response) = streaming();
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
    response
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

/// The `Status` that tells a client the exit code.
fn outcome(exit: Exit) -> String {
    if exit.code == 0 {
        return success();
    }
    json!({"metadata": {}, "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {}", exit.code),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": exit.code.to_string()}]}})
    .to_string()
}
