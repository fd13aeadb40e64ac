//! Where a client's requests go: a service in this process, or HTTPS by a kubeconfig. Both give the same `kube::Client`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ConfigExt as _};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tower::{BoxError, Service, ServiceBuilder};

/// How long the server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// When a connection on which nothing happens is tried out, and when it counts as gone.
const PROBE_AFTER: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(4);
const PROBES: u32 = 3;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read, or lacks what the context names.
    #[error("cannot use the kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// Its certificates or address cannot be used.
    #[error("cannot connect by the kubeconfig {path}")]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: kube::Error,
    },
}

/// A client of a service in this process: requests and answers are handed over as values, without TLS or HTTP framing.
/// The service is bound to the identity that it acts as. Must be called within a tokio runtime.
pub fn in_process<S, B>(service: S) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Client::new(service, "default")
}

/// A client by a kubeconfig file; `context` overrides the file's current context.
pub async fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Client, ConnectError> {
    let bad = |source| ConnectError::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let file = Kubeconfig::read_from(path).map_err(bad)?;
    let config = Config::from_custom_kubeconfig(file, &options).await.map_err(bad)?;
    from_config(&config).map_err(|source| ConnectError::Client {
        path: path.to_owned(),
        source,
    })
}

/// A client that notices when the way to the server is gone. Nothing is ever sent on the connection of a watch, so that
/// after a cut it would wait for ever for a server that has long hung up; the kernel's probes find that out.
pub fn from_config(config: &Config) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_EVERY));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp.set_tcp_user_timeout(Some(PROBE_AFTER + PROBE_EVERY * PROBES));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(tls));
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// A client whose connection can be exchanged while it is in use, and the handle that does it: a node that got a new
/// certificate makes a new client and puts it under all its informers. Requests under way finish on the old one.
pub fn reloadable(first: Client) -> (Client, Reload) {
    let reload = Reload(Arc::new(ArcSwap::from_pointee(first)));
    (Client::new(Forward(reload.clone()), "default"), reload)
}

/// Exchanges the connection under a [`reloadable`] client.
#[derive(Clone)]
pub struct Reload(Arc<ArcSwap<Client>>);

impl Reload {
    /// The following requests go through `client`.
    pub fn replace(&self, client: Client) {
        self.0.store(Arc::new(client));
    }
}

struct Forward(Reload);

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.0.0.load_full();
        Box::pin(async move { client.send(request).await })
    }
}
