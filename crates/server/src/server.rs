//! A running server: started on a store, used from inside of the process, and served to the network.

use std::future::Future;
use std::sync::Arc;

use hyper::body::Incoming;
use store::Store;
use tokio::net::TcpListener;

use crate::core::Core;
use crate::handle::{Identity, handle};
use crate::http::body::incoming;
use crate::http::listen::{self, PeerCertificate};
use crate::pki::Pki;
use crate::service::Service;
use crate::{
    Config, Error, User, admission, aggregation, authn, bootstrap, encryption, extensions, fairness, kubeconfig, peers,
    pki, registration,
};

/// A running API server. Clones are the same server.
#[derive(Clone)]
pub struct Server {
    core: Arc<Core>,
}

impl Server {
    /// Starts a server on a store: reads or makes its keys, fills its caches, and brings the objects that every
    /// cluster has up to date. It answers in-process at once; [`Server::serve`] opens it to the network.
    pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Server, Error> {
        let core = Arc::new(Core::open(config, store).await?);
        bootstrap::run(&core).await?;
        extensions::start(&core).await.map_err(|status| Error::Bootstrap {
            what: "custom resources".to_owned(),
            status: Box::new(status),
        })?;
        registration::start(&core).await.map_err(|status| Error::Bootstrap {
            what: "APIServices".to_owned(),
            status: Box::new(status),
        })?;
        aggregation::start(&core).await.map_err(|status| Error::Bootstrap {
            what: "aggregation".to_owned(),
            status: Box::new(status),
        })?;
        tokio::spawn(bootstrap::keep_trust(Arc::clone(&core)));
        fairness::follow(&core).await?;
        tokio::spawn(Arc::clone(&core).follow_policy());
        admission::follow(&core);
        encryption::follow(&core);
        authn::follow(&core);
        if core.config.shared_store {
            peers::start(&core).await?;
        }
        if let Some(audit) = core.audit.clone() {
            let core = Arc::clone(&core);
            tokio::spawn(async move { audit.run(&core).await });
        }
        core.set_ready();
        Ok(Server { core })
    }

    /// The API as one user, inside of this process.
    pub fn service(&self, user: User) -> Service {
        Service::new(Arc::clone(&self.core), user)
    }

    /// Puts an image registry behind `/v2/`; requests reach it when they are authenticated and allowed.
    pub fn mount_registry(&self, registry: crate::Mounted) {
        // The first one stays; there is no reason for a second.
        let _ = self.core.registry.set(registry);
    }

    /// The connections that nodes have opened.
    pub fn tunnels(&self) -> tunnel::Registry {
        self.core.tunnels.clone()
    }

    /// Serves HTTPS on a listener until [`Server::shutdown`] is called.
    pub fn serve(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + 'static {
        let core = Arc::clone(&self.core);
        let tls = Arc::clone(&core.pki.serving.tls);
        let stopping = core.stopping.clone();
        let handler = move |mut request: ::http::Request<Incoming>| {
            let peer = request.extensions_mut().remove::<PeerCertificate>();
            let (parts, body) = request.into_parts();
            handle(Arc::clone(&core), parts, incoming(body), Identity::Network(peer))
        };
        listen::serve(listener, tls, handler, stopping)
    }

    /// Ends watches, streams and tunnels, and lets [`Server::serve`] finish what is running and return.
    pub fn shutdown(&self) {
        self.core.stopping.cancel();
    }

    /// Sends what is left of traces; for the end, when everything else has been answered.
    pub async fn flush_traces(&self) {
        if let Some(tracer) = &self.core.tracer {
            tracer.flush().await;
        }
    }

    /// Keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.core.pki
    }

    /// The settings that it was started with.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// A kubeconfig for the administrator, for the server at `url`.
    pub fn admin_kubeconfig(&self, name: &str, url: &str) -> Result<String, pki::Error> {
        let client = self
            .core
            .pki
            .ca
            .client("kubernetes-admin", Some(crate::user::MASTERS))?;
        Ok(kubeconfig::text(name, url, self.core.pki.ca.pem(), &client))
    }

    /// A kubeconfig with which a node asks for its own certificate: good for nothing but that.
    pub fn bootstrap_kubeconfig(&self, name: &str, url: &str) -> Result<String, pki::Error> {
        let client = self
            .core
            .pki
            .ca
            .client("system:bootstrap:gantry", Some("system:bootstrappers"))?;
        Ok(kubeconfig::text(name, url, self.core.pki.ca.pem(), &client))
    }
}
