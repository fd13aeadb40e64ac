//! What all controllers see: one watch per kind, each object as the small value that plans need.
//!
//! Only reading happens in here. Templates stay raw JSON text: they are copied into new objects, and a typed value
//! would lose what it doesn't know.

mod cron;
mod daemon;
mod job;
mod model;
mod project;
mod stateful;

use client::{Informer, ObjectKey};
use compact_str::CompactString;
use k8s_openapi::api::admissionregistration::v1 as admission;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::api::storagemigration::v1 as migration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};

use crate::protection::What;
pub(crate) use cron::{Concurrency, CronJob, CronStatus};
pub(crate) use daemon::{DaemonSet, DaemonStatus, Places, Revision, daemon_tolerations};
pub(crate) use job::{Action, FAILURES, FailureMatch, IGNORED, INDEX, Job, JobPod, JobStatus, TRACKING};
#[cfg(test)]
pub(crate) use job::{FailureRule, SuccessRule};

pub(crate) use model::*;
pub(crate) use stateful::{StatefulSet, StatefulStatus};

/// Index of pods and of what makes pods, by the uid of their controller.
pub(crate) const BY_OWNER: usize = 0;
/// Index of pods and of what makes pods, by namespace.
pub(crate) const BY_NAMESPACE: usize = 1;
/// Index of pods by node.
pub(crate) const BY_NODE: usize = 2;
/// Index of endpoint slices by `namespace/service`.
pub(crate) const BY_SERVICE: usize = 0;
/// Index of endpoint slices by the `namespace/name` of the Endpoints that they mirror.
pub(crate) const BY_MIRRORED: usize = 1;

/// Index of budgets by namespace.
pub(crate) const BUDGETS_BY_NAMESPACE: usize = 0;

/// Index of quotas by namespace.
pub(crate) const QUOTAS_BY_NAMESPACE: usize = 0;

/// Index of policies by what they name ([`crate::policies::named`]).
pub(crate) const POLICIES_BY_NAMED: usize = 0;

/// The shared informers. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) pods: Informer<Pod>,
    pub(crate) replicasets: Informer<ReplicaSet>,
    pub(crate) replicationcontrollers: Informer<ReplicaSet>,
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) jobs: Informer<Job>,
    pub(crate) cronjobs: Informer<CronJob>,
    pub(crate) daemonsets: Informer<DaemonSet>,
    pub(crate) statefulsets: Informer<StatefulSet>,
    pub(crate) revisions: Informer<Revision>,
    pub(crate) services: Informer<Service>,
    pub(crate) slices: Informer<Slice>,
    pub(crate) endpoints: Informer<Endpoints>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) accounts: Informer<ObjectKey>,
    pub(crate) root_cas: Informer<RootCa>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) leases: Informer<Lease>,
    pub(crate) requests: Informer<SigningRequest>,
    pub(crate) tokens: Informer<BootstrapToken>,
    pub(crate) budgets: Informer<Budget>,
    pub(crate) quotas: Informer<Quota>,
    pub(crate) claims: Informer<Protected>,
    pub(crate) volumes: Informer<Protected>,
    pub(crate) attributes_classes: Informer<Protected>,
    pub(crate) migrations: Informer<Migration>,
    pub(crate) policies: Informer<Policy>,
    pub(crate) definitions: Informer<Definition>,
}

impl World {
    pub(crate) fn watch(client: &Client) -> Self {
        let all = || client.clone();
        let owned = |set: &ReplicaSet, values: &mut Vec<CompactString>| {
            values.extend(set.owner.iter().map(|owner| owner.uid.as_str().into()));
        };
        Self {
            pods: Informer::of(Api::<core::Pod>::all(all()))
                .index(|pod: &Pod, values| values.extend(pod.owner.iter().map(|owner| owner.uid.as_str().into())))
                .index(|pod: &Pod, values| values.extend(pod.key.namespace.as_deref().map(Into::into)))
                .index(|pod: &Pod, values| values.extend(pod.node.as_deref().map(Into::into)))
                .start(project::pod),
            replicasets: Informer::of(raw::<apps::ReplicaSet>(client))
                .index(owned)
                .index(|set: &ReplicaSet, values| values.extend(set.key.namespace.as_deref().map(Into::into)))
                .start(project::replica_set),
            replicationcontrollers: Informer::of(raw::<core::ReplicationController>(client))
                .index(owned)
                .index(|set: &ReplicaSet, values| values.extend(set.key.namespace.as_deref().map(Into::into)))
                .start(project::replica_set),
            jobs: Informer::of(raw::<batch::Job>(client))
                .index(|job: &Job, values| values.extend(job.owner.iter().map(|owner| owner.uid.as_str().into())))
                .index(|job: &Job, values| values.extend(job.key.namespace.as_deref().map(Into::into)))
                .start(job::job),
            cronjobs: Informer::of(raw::<batch::CronJob>(client)).start(cron::cron_job),
            daemonsets: Informer::of(raw::<apps::DaemonSet>(client))
                .index(|_: &DaemonSet, _| {})
                .index(|set: &DaemonSet, values| values.extend(set.key.namespace.as_deref().map(Into::into)))
                .start(daemon::daemon_set),
            statefulsets: Informer::of(raw::<apps::StatefulSet>(client))
                .index(|_: &StatefulSet, _| {})
                .index(|set: &StatefulSet, values| values.extend(set.key.namespace.as_deref().map(Into::into)))
                .start(stateful::stateful_set),
            revisions: Informer::of(raw::<apps::ControllerRevision>(client))
                .index(|one: &Revision, values| values.extend(one.owner.iter().map(|owner| owner.uid.as_str().into())))
                .index(|one: &Revision, values| values.extend(one.key.namespace.as_deref().map(Into::into)))
                .start(daemon::revision),
            deployments: Informer::of(raw::<apps::Deployment>(client)).start(project::deployment),
            services: Informer::of(Api::<core::Service>::all(all())).start(project::service),
            slices: Informer::of(Api::<discovery::EndpointSlice>::all(all()))
                .index(|slice: &Slice, values| values.extend(slice.service.as_deref().map(Into::into)))
                .index(|slice: &Slice, values| values.extend(slice.mirrored.as_deref().map(Into::into)))
                .start(project::slice),
            endpoints: Informer::of(Api::<core::Endpoints>::all(all())).start(project::endpoints),
            namespaces: Informer::of(Api::<core::Namespace>::all(all())).start(project::namespace),
            accounts: Informer::of(Api::<core::ServiceAccount>::all(all()))
                .fields("metadata.name=default")
                .start(|account| project::key(&account.metadata)),
            root_cas: Informer::of(Api::<core::ConfigMap>::all(all()))
                .fields("metadata.name=kube-root-ca.crt")
                .start(project::root_ca),
            nodes: Informer::of(Api::<core::Node>::all(all())).start(project::node),
            leases: Informer::of(Api::<coordination::Lease>::namespaced(all(), "kube-node-lease"))
                .start(project::lease),
            requests: Informer::of(Api::<certificates::CertificateSigningRequest>::all(all())).start(project::request),
            tokens: Informer::of(Api::<core::Secret>::namespaced(all(), "kube-system"))
                .start_some(project::bootstrap_token),
            budgets: Informer::of(Api::<policy::PodDisruptionBudget>::all(all()))
                .index(|budget: &Budget, values| values.extend(budget.key.namespace.as_deref().map(Into::into)))
                .start(project::budget),
            quotas: quotas(client),
            claims: Informer::of(raw::<core::PersistentVolumeClaim>(client))
                .start(|claim| project::protected(claim, What::Claims)),
            volumes: Informer::of(raw::<core::PersistentVolume>(client))
                .start(|volume| project::protected(volume, What::Volumes)),
            attributes_classes: Informer::of(raw::<storage::VolumeAttributesClass>(client))
                .start(|class| project::protected(class, What::AttributesClasses)),
            migrations: Informer::of(Api::<migration::StorageVersionMigration>::all(all())).start(project::migration),
            policies: policies(client),
            definitions: definitions(client),
        }
    }

    /// Waits until every first list is complete; before that, absent may mean unknown.
    pub(crate) async fn synced(&self) {
        self.pods.synced().await;
        self.replicasets.synced().await;
        self.replicationcontrollers.synced().await;
        self.deployments.synced().await;
        self.jobs.synced().await;
        self.cronjobs.synced().await;
        self.daemonsets.synced().await;
        self.statefulsets.synced().await;
        self.revisions.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        self.endpoints.synced().await;
        self.namespaces.synced().await;
        self.accounts.synced().await;
        self.root_cas.synced().await;
        self.nodes.synced().await;
        self.leases.synced().await;
        self.requests.synced().await;
        self.tokens.synced().await;
        self.budgets.synced().await;
        self.quotas.synced().await;
        self.claims.synced().await;
        self.volumes.synced().await;
        self.attributes_classes.synced().await;
        self.migrations.synced().await;
        self.policies.synced().await;
        self.definitions.synced().await;
    }
}

fn quotas(client: &Client) -> Informer<Quota> {
    Informer::of(raw::<core::ResourceQuota>(client))
        .index(|quota: &Quota, values| values.extend(quota.key.namespace.as_deref().map(Into::into)))
        .start(project::quota)
}

fn definitions(client: &Client) -> Informer<Definition> {
    Informer::of(raw::<extensions::CustomResourceDefinition>(client)).start(project::definition)
}

fn policies(client: &Client) -> Informer<Policy> {
    Informer::of(raw::<admission::ValidatingAdmissionPolicy>(client))
        .index(|policy: &Policy, values| values.extend(policy.named.iter().map(Into::into)))
        .start(project::policy)
}

/// The objects of a kind as they are.
fn raw<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}
