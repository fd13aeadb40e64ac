//! Where a client's requests go: a service in this process, or HTTPS by a kubeconfig. Both give the same `kube::Client`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tower::{BoxError, Service};

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
    Client::try_from(config).map_err(|source| ConnectError::Client {
        path: path.to_owned(),
        source,
    })
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
