//! Connections: TLS, HTTP/1.1 and HTTP/2, the client's certificate, and closing them politely.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Body;
use crate::authn::x509;
use crate::user::User;

/// How long a client may take for the handshake.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take for a request's head, the time between two requests of a kept connection included.
const IDLE: Duration = Duration::from_secs(180);
/// How long running requests get when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// A client holds one stream a watch, and a controller watches everything.
const MAX_STREAMS: u32 = 2_000;

/// The certificate that a client showed, verified against the CA.
#[derive(Clone)]
pub(crate) struct PeerCertificate(Arc<Peer>);

/// The other end of the connection.
#[derive(Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

struct Peer {
    /// The certificate itself, and those between it and the CA.
    chain: Vec<CertificateDer<'static>>,
    user: OnceLock<Option<User>>,
}

impl PeerCertificate {
    /// The user of the certificate, worked out once a connection.
    pub(crate) fn user(&self) -> Option<User> {
        let own = || self.0.chain.first().and_then(|certificate| x509::user(certificate));
        self.0.user.get_or_init(own).clone()
    }

    /// The certificate, and those that lead from it to its CA.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }
}

/// Serves connections until `cancel`, then lets running requests end for a moment.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    handler: H,
    cancel: CancellationToken,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: waiting a little is all that helps.
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        connections.spawn(connection(stream, acceptor.clone(), handler.clone(), cancel.clone()));
    }
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::info!(open = connections.len(), "closing connections that are still busy");
    }
}

async fn connection<H, F>(stream: TcpStream, acceptor: TlsAcceptor, handler: H, cancel: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let address = stream.peer_addr().ok().map(PeerAddress);
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let peer = stream.get_ref().1.peer_certificates();
    let peer = peer.filter(|chain| !chain.is_empty()).map(|chain| {
        PeerCertificate(Arc::new(Peer {
            chain: chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
            user: OnceLock::new(),
        }))
    });
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        if let Some(address) = address {
            request.extensions_mut().insert(address);
        }
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(30))
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(Some(MAX_STREAMS as usize))
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}
