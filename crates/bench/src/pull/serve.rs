//! The registry over plain HTTP on loopback, for everybody alike.

use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use registry::Registry;
use tokio::net::TcpListener;

/// Serves until it is dropped.
pub(super) struct Serving {
    pub(super) address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    pub(super) async fn start(registry: Registry) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let registry = registry.clone();
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let registry = registry.clone();
                    let request = request.map(registry::incoming);
                    async move { Ok::<_, Infallible>(registry.handle(request).await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
