//! The node's side: asks the server for the upgrade, then serves HTTP/2 on the connection.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Body, Error, PATH, PROTOCOL};

/// How much of a refusal's body is worth telling.
const MAX_REFUSAL: usize = 2048;

/// Asks the server at the other end of `stream` (TLS with the node's client certificate) for a tunnel. `authority` is
/// the `Host` of the request.
pub async fn dial<S>(stream: S, authority: &str) -> Result<Upgraded, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the tunnel's first exchange ended");
        }
    });
    let request = Request::get(PATH)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_REFUSAL)
            .collect()
            .await;
        let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return Err(Error::Refused {
            status,
            message: String::from_utf8_lossy(&bytes).into_owned(),
        });
    }
    Ok(hyper::upgrade::on(response).await?)
}

/// Serves the server's requests on a dialled connection until either side closes it. Each request runs in a task of
/// its own; dropping the future closes the tunnel.
pub async fn serve<H, F>(upgraded: Upgraded, handler: H) -> Result<(), Error>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(15)))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(4096)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder.serve_connection(upgraded, service).await.map_err(Error::Http)
}
