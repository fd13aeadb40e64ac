//! API aggregation: versions of groups that other servers in the cluster serve, as APIServices with a service register
//! them. Their requests are authenticated and authorized here and then passed on in the name of the user; their
//! discovery and OpenAPI documents are merged into this server's own.
//!
//! Who asks and whether they may is settled before anything here is reached. Nothing here keeps an object: what is known
//! of other servers is learned anew after a start.
//!
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>

mod availability;
mod discovery;
mod follow;
mod headers;
mod learn;
mod metrics;
mod pass;
mod plan;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::http::path::RequestInfo;

pub(crate) use discovery::{aggregated, order};
pub(crate) use follow::start;
use learn::Learned;
pub(crate) use learn::Three;
pub(crate) use pass::pass;
use remote::Remote;

/// The group of APIServices; it is never another server's.
const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";

/// Which versions other servers serve, and what is known of them.
#[derive(Default)]
pub(crate) struct Aggregation {
    routes: ArcSwap<Routes>,
    /// Held while the routes are replaced, so that no change is lost.
    changing: Mutex<()>,
    /// Told when a Service or its endpoints have changed.
    places: watch::Sender<()>,
    losses: metrics::Losses,
}

/// One state of it.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    /// Another one whenever documents that are made of this would be others.
    pub(crate) generation: u64,
    /// By `GROUP/VERSION`.
    by_version: BTreeMap<String, Route>,
}

/// The way to one version of a group.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) remote: Arc<Remote>,
    /// What its APIService's condition says.
    available: bool,
    /// None until it was asked for the first time.
    pub(crate) learned: Option<Arc<Learned>>,
}

impl Aggregation {
    /// What is known now.
    pub(crate) fn now(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// The way that a request goes; none when it is for this server itself.
    pub(crate) fn route(&self, info: &RequestInfo) -> Option<Route> {
        let routes = self.routes.load();
        if routes.is_empty() {
            return None;
        }
        if let Some(path) = &info.resource {
            return routes.get(&path.group, &path.version).cloned();
        }
        let words: Vec<&str> = info.path.split('/').filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["apis", group, version] => routes.get(group, version).cloned(),
            _ => None,
        }
    }

    /// What is counted, for Prometheus.
    pub(crate) fn metrics(&self) -> String {
        self.losses.text(&self.now())
    }

    /// Replaces the routes by what `change` makes of them, if it makes anything.
    fn change(&self, change: impl FnOnce(&Routes) -> Option<Routes>) {
        let _changing = self.changing.lock();
        if let Some(routes) = change(&self.routes.load()) {
            self.routes.store(Arc::new(routes));
        }
    }
}

impl Routes {
    /// Whether this server serves everything itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_version.is_empty()
    }

    /// The way to a version of a group.
    pub(crate) fn get(&self, group: &str, version: &str) -> Option<&Route> {
        self.by_version.get(&format!("{group}/{version}"))
    }

    /// All ways.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Route> {
        self.by_version.values()
    }
}
