//! The server's side: the upgraded connection as an HTTP/2 client.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::JoinHandle;

use crate::{Body, Error};

/// A node's open tunnel. Clones share the connection.
#[derive(Clone)]
pub struct Link {
    sender: SendRequest<Body>,
}

/// Takes over a connection that was upgraded. The handle ends when the tunnel is closed, for whatever reason.
pub async fn accept(upgraded: Upgraded) -> Result<(Link, JoinHandle<()>), Error> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(15)))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    let (sender, connection) = builder.handshake(upgraded).await?;
    let closed = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a node's tunnel closed");
        }
    });
    Ok((Link { sender }, closed))
}

impl Link {
    /// Sends one request to the node. Its body and the answer's stream independently of each other.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    /// Whether the connection is already known to be gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
