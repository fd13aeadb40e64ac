//! What all requests share: the store, the caches, the policy and the keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::resource::Catalog;
use arc_swap::ArcSwap;
use meta::{ObjectKey, Status};
use parking_lot::Mutex;
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;
use watch::{Cache, Hub, Scope};

use crate::admission::Chain;
use crate::authn::Others;
use crate::authn::token::Claims;
use crate::authz::policy::Sources;
use crate::authz::{self, Attributes, Decision, Policy, node};
use crate::changes::Changes;
use crate::encryption::EncryptedStore;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::pki::{self, Pki};
use crate::traces::Tracer;
use crate::{Config, Error};

const RBAC: &str = "rbac.authorization.k8s.io";
const ROLES_AND_BINDINGS: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// The inside of a server.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) pki: Pki,
    pub(crate) others: Others,
    /// The front proxies that are believed, if any are.
    pub(crate) proxies: Option<crate::authn::Proxies>,
    pub(crate) store: Arc<dyn Store>,
    /// The same store, with what it knows of encryption.
    pub(crate) at_rest: Arc<EncryptedStore>,
    pub(crate) hub: Hub,
    pub(crate) kinds: Kinds,
    pub(crate) admission: Chain,
    pub(crate) tokens: Mutex<HashMap<String, Claims>>,
    pub(crate) tunnels: tunnel::Registry,
    /// The image registry, when there is one.
    pub(crate) registry: std::sync::OnceLock<crate::mounted::Mounted>,
    pub(crate) metrics: Metrics,
    /// Set when the server stops: streams end themselves then.
    pub(crate) stopping: CancellationToken,
    pub(crate) extensions: crate::extensions::Extensions,
    pub(crate) aggregation: crate::aggregation::Aggregation,
    pub(crate) fairness: crate::fairness::Fairness,
    /// None when nothing is written down.
    pub(crate) audit: Option<Arc<crate::audit::Audit>>,
    /// None when nothing is traced.
    pub(crate) tracer: Option<Arc<Tracer>>,
    policy: ArcSwap<Policy>,
    pods: node::Pods,
    rbac: [Arc<Cache>; 4],
    ready: AtomicBool,
}

impl Core {
    pub(crate) async fn open(config: Config, store: Arc<dyn Store>) -> Result<Core, Error> {
        let admission = Chain::builtin(&config.admission)?;
        let audit = crate::audit::Audit::open(&config.audit)?;
        if config.shared_store {
            pki::share(&config, &*store).await?;
        }
        let pki = Pki::open(&config)?;
        let others = Others::open(config.authentication.as_ref(), &issuer(&config), &config.server_id())?;
        let at_rest = Arc::new(EncryptedStore::open(store, config.encryption.as_ref(), &config.server_id()).await?);
        let store: Arc<dyn Store> = Arc::clone(&at_rest) as Arc<dyn Store>;
        let proxies = config.request_header.as_ref();
        let proxies = proxies.map(|settings| crate::authn::Proxies::open(settings, &pki.ca));
        let proxies = proxies.transpose()?;
        let hub = Hub::start(Arc::clone(&store)).await?;
        let kinds = Kinds::open(Catalog::builtin(), &config.runtime, &hub).await?;
        let cache = |group: &str, plural: &'static str| {
            let kind = kinds.any(group, plural).ok_or(Error::MissingKind(plural))?;
            kind.cache().cloned().map_err(|_| Error::MissingKind(plural))
        };
        let [cluster_roles, roles, cluster_bindings, bindings] = ROLES_AND_BINDINGS;
        let rbac = [
            cache(RBAC, cluster_roles)?,
            cache(RBAC, roles)?,
            cache(RBAC, cluster_bindings)?,
            cache(RBAC, bindings)?,
        ];
        let pods = cache("", "pods")?;
        let stopping = CancellationToken::new();
        let tracer = config.tracing.as_ref();
        let tracer = tracer.map(|settings| Tracer::start(settings, &config.server_id(), &stopping));
        let tracer = tracer.transpose().map_err(Error::Tracing)?;
        let core = Core {
            config,
            pki,
            others,
            proxies,
            store,
            at_rest,
            hub,
            kinds,
            admission,
            tokens: Mutex::default(),
            tunnels: tunnel::Registry::default(),
            registry: std::sync::OnceLock::new(),
            metrics: Metrics::default(),
            stopping,
            extensions: crate::extensions::Extensions::default(),
            aggregation: crate::aggregation::Aggregation::default(),
            fairness: crate::fairness::Fairness::default(),
            audit,
            tracer,
            policy: ArcSwap::default(),
            pods,
            rbac,
            ready: AtomicBool::new(false),
        };
        core.compile_policy();
        Ok(core)
    }

    /// The issuer of service account tokens, and the audience of those that are meant for this API.
    pub(crate) fn issuer(&self) -> String {
        issuer(&self.config)
    }

    /// What the store is called in traces.
    pub(crate) fn store_name(&self) -> &'static str {
        match self.config.shared_store {
            true => "etcd3",
            false => "embedded",
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether somebody may do something.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        authz::decide(&self.policy.load(), &self.pods, attributes)
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    pub(crate) fn pods(&self) -> &node::Pods {
        &self.pods
    }

    /// An object as the cache has it now.
    pub(crate) fn cached_tree(&self, group: &str, plural: &str, key: &ObjectKey) -> Option<Value> {
        let kind = self.kinds.any(group, plural)?;
        let version = kind.cache().ok()?.get(&kind.key(key.namespace.as_deref(), &key.name))?;
        kind.tree(version.bytes(), version.revision()).ok()
    }

    /// The objects of a built-in resource as the cache has them now, in the order of their keys.
    pub(crate) fn cached_trees(&self, group: &str, plural: &str, scope: &Scope) -> Result<Vec<Value>, Status> {
        let Some(kind) = self.kinds.any(group, plural) else {
            return Ok(Vec::new());
        };
        let snapshot = kind.cache()?.list(scope);
        let trees = snapshot
            .iter()
            .map(|version| kind.tree(version.bytes(), version.revision()));
        trees.collect()
    }

    /// The same after everything that was acknowledged before; for decisions that must not be stale.
    pub(crate) async fn fresh_tree(&self, group: &str, plural: &str, key: &ObjectKey) -> Result<Option<Value>, Status> {
        self.hub.fresh().await.map_err(crate::status::of_watch)?;
        Ok(self.cached_tree(group, plural, key))
    }

    /// Compiles roles and bindings as the caches have them now.
    pub(crate) fn compile_policy(&self) {
        let snapshots = self.rbac.each_ref().map(|cache| cache.list(&Scope::All));
        let [cluster_roles, roles, cluster_bindings, bindings] = snapshots
            .each_ref()
            .map(|snapshot| snapshot.iter().map(|version| &version.bytes()[..]).collect::<Vec<_>>());
        let policy = Policy::compile(&Sources {
            cluster_roles,
            roles,
            cluster_bindings,
            bindings,
        });
        self.policy.store(Arc::new(policy));
    }

    /// Compiles the policy anew whenever a role or a binding changes, until the server stops.
    pub(crate) async fn follow_policy(self: Arc<Self>) {
        let Some(mut changes) = Changes::of(&self, RBAC, &ROLES_AND_BINDINGS) else {
            return;
        };
        loop {
            self.compile_policy();
            if !changes.next(&self).await {
                return;
            }
        }
    }
}

fn issuer(config: &Config) -> String {
    format!("https://kubernetes.default.svc.{}", config.cluster_domain)
}
