//! Starts all controllers over one shared world.

use std::sync::Arc;
use std::time::Duration;

use client::Backoff;
use ipnet::IpNet;
use kube::Client;
use reconcile::{Queue, Reconciler};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::protection::What;
use crate::world::World;
use crate::write::Writer;
use crate::{
    accounts, cronjob, csr, daemonset, deployment, disruption, endpoints, gc, ipam, job, migration, mirror, namespace,
    nodes, podgc, policies, protection, quota, replicaset, statefulset, tokens,
};

/// The user that the shared watches act as.
pub const SHARED_IDENTITY: &str = "system:kube-controller-manager";

/// How many keys each controller works on at a time: mostly it waits for the API.
const WORKERS: usize = 8;

/// A certificate authority: what certificates of nodes are signed with. Both PEM.
#[derive(Clone)]
pub struct SigningKey {
    /// The authority's certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// How long a certificate holds, unless its request wants less.
    pub lifetime: Duration,
}

/// What controllers must be told.
#[derive(Clone)]
pub struct Config {
    /// The PEM that pods verify the server with; published in every namespace.
    pub root_ca: String,
    /// Signs certificates of nodes; none: requests stay open.
    pub signing: Option<SigningKey>,
    /// The range that pods' addresses come from; none: nodes bring their own.
    pub cluster_cidr: Option<IpNet>,
    /// How large a node's part of it is.
    pub node_mask: u8,
}

struct Starter<'a, F> {
    clients: &'a F,
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

/// Runs all controllers until `cancel`.
///
/// `clients` gives a client that acts as the user of that name: [`SHARED_IDENTITY`] for the watches, and
/// `system:serviceaccount:kube-system:NAME` for each controller's writes.
pub async fn run(clients: impl Fn(&str) -> Client, config: Config, cancel: CancellationToken) {
    let world = World::watch(&clients(SHARED_IDENTITY));
    tokio::select! {
        () = world.synced() => {}
        () = cancel.cancelled() => return,
    }
    let mut start = Starter {
        clients: &clients,
        tasks: JoinSet::new(),
        cancel,
    };
    start.all(&world, config);
    while let Some(ended) = start.tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller died");
        }
    }
}

// === impl Starter ===

impl<F: Fn(&str) -> Client> Starter<'_, F> {
    fn all(&mut self, world: &World, config: Config) {
        let writer = self.writer("replicaset-controller");
        self.start(replicaset::Controller::replica_sets(world, writer), WORKERS);
        let writer = self.writer("replication-controller");
        self.start(replicaset::Controller::replication_controllers(world, writer), WORKERS);
        let writer = self.writer("deployment-controller");
        self.start(deployment::Controller::new(world, writer), WORKERS);
        let writer = self.writer("daemon-set-controller");
        self.start(daemonset::Controller::new(world, writer), WORKERS);
        let writer = self.writer("statefulset-controller");
        self.start(statefulset::Controller::new(world, writer), WORKERS);
        let writer = self.writer("job-controller");
        self.start(job::Orphans::new(world, &writer), WORKERS);
        self.start(job::Controller::new(world, writer), WORKERS);
        let writer = self.writer("cronjob-controller");
        self.start(cronjob::Controller::new(world, writer), WORKERS);
        let writer = self.writer("ttl-after-finished-controller");
        self.start(job::Ttl::new(world, writer), WORKERS);
        let writer = self.writer("endpointslice-controller");
        self.start(endpoints::Controller::slices(world, writer), WORKERS);
        let writer = self.writer("endpointslicemirroring-controller");
        self.start(mirror::Controller::new(world, writer), WORKERS);
        let writer = self.writer("endpoint-controller");
        self.start(endpoints::Controller::endpoints(world, writer), WORKERS);
        let writer = self.writer("service-account-controller");
        self.start(accounts::Accounts::new(world, writer), WORKERS);
        let writer = self.writer("root-ca-cert-publisher");
        self.start(accounts::RootCas::new(world, writer, config.root_ca), WORKERS);
        let writer = self.writer("namespace-controller");
        self.start(namespace::Controller::new(world, writer), WORKERS);
        let writer = self.writer("node-controller");
        self.start(nodes::Controller::new(world, writer.clone()), WORKERS);
        self.start(nodes::Evictor::new(world, writer.clone()), WORKERS);
        if let Some(cluster) = config.cluster_cidr {
            self.start(ipam::Controller::new(world, writer, cluster, config.node_mask), 1);
        }
        let writer = self.writer("disruption-controller");
        self.start(disruption::Controller::new(world, writer), WORKERS);
        let writer = self.writer("pod-garbage-collector");
        self.start(podgc::Controller::new(world, writer), WORKERS);
        let writer = self.writer("storage-version-migrator-controller");
        self.start(migration::Controller::new(world, writer), 1);
        let writer = self.writer("validatingadmissionpolicy-status-controller");
        self.start(policies::Controller::new(world, writer), WORKERS);
        let writer = self.writer("token-cleaner");
        self.start(tokens::Controller::new(world, writer), 1);
        if let Some(key) = config.signing {
            let writer = self.writer("certificate-controller");
            self.start(csr::Controller::new(world, writer, key), 1);
        }
        for (what, name) in [
            (What::Claims, "pvc-protection-controller"),
            (What::Volumes, "pv-protection-controller"),
            (What::AttributesClasses, "volumeattributesclass-protection-controller"),
        ] {
            let writer = self.writer(name);
            self.start(protection::Controller::new(what, world, writer), 1);
        }
        let writer = self.writer("resourcequota-controller");
        let (quotas, queue) = quota::Controller::new(world, writer);
        let listener = quotas.replenishing(&queue);
        self.start((quotas, queue), WORKERS);
        self.collector(Arc::new(listener));
    }

    fn writer(&self, name: &str) -> Writer {
        Writer::new(
            (self.clients)(&format!("system:serviceaccount:kube-system:{name}")),
            name,
        )
    }

    fn start<R: Reconciler>(&mut self, (controller, queue): (R, Queue<R::Key>), workers: usize) {
        self.tasks.spawn(reconcile::run(
            Arc::new(controller),
            queue,
            workers,
            self.cancel.clone(),
        ));
    }

    /// The garbage collector asks the API for its resources first; without a whole view it must not delete.
    fn collector(&mut self, listener: Arc<dyn gc::Listener>) {
        let (writer, cancel) = (self.writer("generic-garbage-collector"), self.cancel.clone());
        self.tasks.spawn(async move {
            let queue = Queue::default();
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
            let ready = async {
                loop {
                    match gc::Controller::new(writer.clone(), &queue, listener.clone()).await {
                        Ok(collector) => {
                            collector.synced().await;
                            return collector;
                        }
                        Err(error) => {
                            let delay = backoff.next_delay();
                            tracing::warn!(%error, ?delay, "cannot discover the resources to collect");
                            tokio::time::sleep(delay).await;
                        }
                    }
                }
            };
            let collector = tokio::select! {
                collector = ready => collector,
                () = cancel.cancelled() => return,
            };
            let collector = Arc::new(collector);
            let follower = Arc::clone(&collector);
            tokio::select! {
                () = reconcile::run(collector, queue, WORKERS, cancel) => {}
                () = async { follower.follow().await; std::future::pending().await } => {}
            }
        });
    }
}
