//! The small values that plans work on.

use std::collections::BTreeMap;

use client::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use meta::labels::Selector;
use serde_json::Value;

use super::job::JobPod;
use crate::owner::Owner;

pub(crate) type Labels = BTreeMap<String, String>;

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) owner: Option<Owner>,
    pub(crate) created: Timestamp,
    pub(crate) deleting: bool,
    pub(crate) node: Option<String>,
    /// The one node that it may go to, where there is only one.
    pub(crate) meant_for: Option<String>,
    pub(crate) phase: Phase,
    /// Since when it is ready; none when it is not.
    pub(crate) ready: Option<Timestamp>,
    pub(crate) addresses: Vec<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) subdomain: Option<String>,
    /// Name, number, protocol.
    pub(crate) ports: Vec<(String, i32, String)>,
    pub(crate) restarts: i32,
    pub(crate) deletion_cost: i32,
    pub(crate) tolerations: Vec<core::Toleration>,
    /// What a job wants to know of it; none of pods of others.
    pub(crate) job: Option<Box<JobPod>>,
    /// Changes with what a quota counts of it: whether it has ended or will, what it is given.
    pub(crate) counted: u64,
}

/// A replica set, or a replication controller, which works the same.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaSet {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    /// The version that was seen, so that a decision on an old one is refused.
    pub(crate) version: String,
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) owner: Option<Owner>,
    pub(crate) created: Timestamp,
    pub(crate) deleting: bool,
    pub(crate) generation: i64,
    pub(crate) replicas: i32,
    pub(crate) min_ready_seconds: i32,
    /// None when it is not understood: then it selects nothing.
    pub(crate) selector: Option<Selector>,
    pub(crate) template_labels: Labels,
    /// The template as compact JSON.
    pub(crate) template: Box<str>,
    pub(crate) status: ReplicaSetStatus,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReplicaSetStatus {
    pub(crate) replicas: i32,
    pub(crate) labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) observed_generation: i64,
    pub(crate) conditions: Vec<Condition>,
}

/// A condition of any kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) updated: Option<Timestamp>,
    pub(crate) changed: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) annotations: Labels,
    pub(crate) deleting: bool,
    pub(crate) generation: i64,
    pub(crate) replicas: i32,
    pub(crate) min_ready_seconds: i32,
    pub(crate) paused: bool,
    pub(crate) recreate: bool,
    pub(crate) max_surge: Value,
    pub(crate) max_unavailable: Value,
    pub(crate) progress_deadline: Option<i32>,
    pub(crate) history_limit: i32,
    pub(crate) selector: Option<Selector>,
    pub(crate) selector_json: Value,
    pub(crate) template: Box<str>,
    pub(crate) status: DeploymentStatus,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeploymentStatus {
    pub(crate) observed_generation: i64,
    pub(crate) replicas: i32,
    pub(crate) updated: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) unavailable: i32,
    pub(crate) collisions: i32,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) deleting: bool,
    /// None: its endpoints are somebody else's business.
    pub(crate) selector: Option<Labels>,
    pub(crate) headless: bool,
    pub(crate) external_name: bool,
    pub(crate) publish_not_ready: bool,
    /// Whose traffic its endpoints should rather have.
    pub(crate) distribution: Option<String>,
    pub(crate) families: Vec<String>,
    pub(crate) ports: Vec<core::ServicePort>,
}

#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    /// `namespace/service` when it is managed by our controller.
    pub(crate) service: Option<String>,
    /// `namespace/name` of the Endpoints that it mirrors.
    pub(crate) mirrored: Option<String>,
    pub(crate) address_type: String,
    pub(crate) endpoints: Vec<discovery::Endpoint>,
    pub(crate) ports: Vec<discovery::EndpointPort>,
}

#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    /// Those that a mirror has, too.
    pub(crate) annotations: Labels,
    /// Whether slices are to be made of it, if its service selects no pods.
    pub(crate) is_mirrored: bool,
    pub(crate) ours: bool,
    pub(crate) subsets: Vec<core::EndpointSubset>,
}

#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) deleting: bool,
    pub(crate) finalizers: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RootCa {
    pub(crate) key: ObjectKey,
    pub(crate) certificate: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) version: String,
    /// Names and addresses that it says it has.
    pub(crate) addresses: Vec<String>,
    pub(crate) taints: Vec<core::Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) pod_cidrs: Vec<String>,
    pub(crate) zone: Option<String>,
    pub(crate) conditions: Vec<Condition>,
    /// When the node last wrote its status.
    pub(crate) heartbeat: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) name: String,
    pub(crate) renewed: Option<Timestamp>,
}

/// A secret by which machines join; of the secret itself nothing is kept.
#[derive(Debug, Clone)]
pub(crate) struct BootstrapToken {
    pub(crate) uid: String,
    pub(crate) expiration: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct SigningRequest {
    pub(crate) key: ObjectKey,
    pub(crate) signer: String,
    pub(crate) username: String,
    pub(crate) groups: Vec<String>,
    pub(crate) usages: Vec<String>,
    pub(crate) seconds: Option<i32>,
    /// PEM.
    pub(crate) request: Vec<u8>,
    pub(crate) approved: bool,
    pub(crate) denied: bool,
    pub(crate) failed: bool,
    pub(crate) signed: bool,
}

/// A migration of all objects of a resource into the form that is stored now.
#[derive(Debug, Clone)]
pub(crate) struct Migration {
    pub(crate) created: Option<Timestamp>,
    pub(crate) group: String,
    pub(crate) resource: String,
    /// As the API has it.
    pub(crate) status: serde_json::Value,
    /// It has succeeded or failed.
    pub(crate) ended: bool,
}

impl Migration {
    /// Whether what it is about may yet be on its way.
    pub(crate) fn is_young(&self) -> bool {
        let age = self.created.map(|created| Timestamp::now().duration_since(created));
        age.is_some_and(|age| age.as_secs() < 60)
    }
}

/// A validating admission policy.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) key: ObjectKey,
    /// What it names, as [`crate::policies::named`] says.
    pub(crate) named: Vec<String>,
}

/// The definition of a custom resource.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
}

/// A disruption budget.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// None selects nothing; an empty one every pod.
    pub(crate) selector: Option<Selector>,
    pub(crate) min_available: Option<Amount>,
    pub(crate) max_unavailable: Option<Amount>,
    pub(crate) status: BudgetStatus,
}

/// What a budget says of its pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct BudgetStatus {
    /// The version of the object that it was read from; empty in one that was planned.
    pub(crate) version: String,
    pub(crate) allowed: i32,
    pub(crate) healthy: i32,
    pub(crate) desired: i32,
    pub(crate) expected: i32,
    pub(crate) observed_generation: i64,
    /// Pods whose eviction was allowed, and since when.
    pub(crate) disrupted: BTreeMap<String, Timestamp>,
    pub(crate) condition: Option<Condition>,
}

/// A number, or a share of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    Number(i32),
    Percent(i32),
}

impl BudgetStatus {
    /// Whether both say the same, whenever they were read.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let numbers = |status: &Self| {
            (
                status.allowed,
                status.healthy,
                status.desired,
                status.expected,
                status.observed_generation,
            )
        };
        numbers(self) == numbers(other) && self.disrupted == other.disrupted && self.condition == other.condition
    }
}

impl Amount {
    /// How much it is of `total`; shares are rounded up.
    pub(crate) fn of(self, total: i32) -> i32 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => {
                let share = (i64::from(percent) * i64::from(total) + 99).div_euclid(100);
                i32::try_from(share).unwrap_or(i32::MAX)
            }
        }
    }
}

impl Pod {
    /// It counts as one of the wanted replicas.
    pub(crate) fn is_active(&self) -> bool {
        !self.deleting && !self.has_ended()
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

impl Condition {
    pub(crate) fn new(kind: &str, status: bool, reason: &str, message: impl Into<String>, now: Timestamp) -> Self {
        Self {
            kind: kind.into(),
            status: if status { "True" } else { "False" }.into(),
            reason: reason.into(),
            message: message.into(),
            updated: Some(now),
            changed: Some(now),
        }
    }

    pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
        conditions.iter().find(|condition| condition.kind == kind)
    }

    pub(crate) fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// A quota, whole: there are few, and its status is written with everything that was read.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) key: ObjectKey,
    pub(crate) version: String,
    pub(crate) object: Value,
}

/// A claim, a volume or a class of attributes that isn't deleted while it is used.
#[derive(Debug, Clone)]
pub(crate) struct Protected {
    pub(crate) key: ObjectKey,
    pub(crate) deleting: bool,
    /// Whether the finalizer is on it.
    pub(crate) held: bool,
}
