//! From the API's objects to the small values.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use client::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1 as certificates;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::storagemigration::v1 as migration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::DynamicObject;
use meta::labels::Selector;
use serde_json::Value;

use super::job::job_pod;
use super::model::*;
use crate::owner::Owner;
use crate::protection::What;

pub(crate) fn key(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        namespace: meta.namespace.clone(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

pub(super) fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

pub(super) fn pod(pod: &core::Pod) -> Pod {
    let meta = &pod.metadata;
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c.type_ == "Ready" && c.status == "True");
    let ready = ready.map(|c| {
        c.last_transition_time
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    });
    let addresses = status
        .and_then(|status| status.pod_ips.as_ref())
        .into_iter()
        .flatten()
        .map(|ip| ip.ip.clone());
    let mut addresses: Vec<String> = addresses.filter(|ip| !ip.is_empty()).collect();
    if addresses.is_empty() {
        addresses.extend(
            status
                .and_then(|status| status.pod_ip.clone())
                .filter(|ip| !ip.is_empty()),
        );
    }
    let statuses = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten();
    let sidecars = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default()
        .iter()
        .chain(sidecars);
    let ports = containers
        .flat_map(|container| container.ports.iter().flatten())
        .map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            (port.name.clone().unwrap_or_default(), port.container_port, protocol)
        });
    let cost = meta
        .annotations
        .as_ref()
        .and_then(|all| all.get("controller.kubernetes.io/pod-deletion-cost"));
    let owner = Owner::of(meta.owner_references.as_ref());
    Pod {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        labels: meta.labels.clone().unwrap_or_default(),
        job: job_pod(pod, owner.as_ref()),
        owner,
        created: created(meta),
        deleting: meta.deletion_timestamp.is_some(),
        node: spec
            .and_then(|spec| spec.node_name.clone())
            .filter(|name| !name.is_empty()),
        meant_for: spec.and_then(meant_for),
        phase: match status.and_then(|status| status.phase.as_deref()) {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some("Unknown") => Phase::Unknown,
            _ => Phase::Pending,
        },
        ready,
        addresses,
        hostname: spec
            .and_then(|spec| spec.hostname.clone())
            .filter(|name| !name.is_empty()),
        subdomain: spec
            .and_then(|spec| spec.subdomain.clone())
            .filter(|name| !name.is_empty()),
        ports: ports.collect(),
        restarts: statuses.map(|status| status.restart_count).max().unwrap_or(0),
        deletion_cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or(0),
        tolerations: spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
        counted: counted(pod),
    }
}

/// A number that changes with what a quota counts of a pod.
fn counted(pod: &core::Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    pod.metadata.deletion_timestamp.is_some().hash(&mut hasher);
    pod.metadata.deletion_grace_period_seconds.hash(&mut hasher);
    if let Some(spec) = &pod.spec {
        spec.active_deadline_seconds.is_some().hash(&mut hasher);
    }
    let mut amounts = |resources: Option<&core::ResourceRequirements>| {
        let lists = resources.map(|resources| [&resources.requests, &resources.limits]);
        for (name, amount) in lists.into_iter().flatten().flatten().flatten() {
            (name, &amount.0).hash(&mut hasher);
        }
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.for_each(|container| amounts(container.resources.as_ref()));
    if let Some(status) = &pod.status {
        let all = [&status.container_statuses, &status.init_container_statuses];
        for one in all.into_iter().flatten().flatten() {
            amounts(one.resources.as_ref());
        }
        matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")).hash(&mut hasher);
    }
    hasher.finish()
}

pub(super) fn protected(object: &DynamicObject, what: What) -> Protected {
    let finalizers = object.metadata.finalizers.iter().flatten();
    Protected {
        key: key(&object.metadata),
        deleting: object.metadata.deletion_timestamp.is_some(),
        held: finalizers.into_iter().any(|one| one == what.finalizer()),
    }
}

pub(super) fn quota(object: &DynamicObject) -> Quota {
    Quota {
        key: key(&object.metadata),
        version: object.metadata.resource_version.clone().unwrap_or_default(),
        object: serde_json::to_value(object).unwrap_or_default(),
    }
}

/// The node that required affinity names, where it names one.
fn meant_for(spec: &core::PodSpec) -> Option<String> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    match names.next()?.values.as_deref() {
        Some([name]) => Some(name.clone()),
        _ => None,
    }
}

pub(super) fn replica_set(object: &DynamicObject) -> ReplicaSet {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    ReplicaSet {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        version: meta.resource_version.clone().unwrap_or_default(),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        owner: Owner::of(meta.owner_references.as_ref()),
        created: created(meta),
        deleting: meta.deletion_timestamp.is_some(),
        generation: meta.generation.unwrap_or(0),
        replicas: number(&spec["replicas"]).unwrap_or(1),
        min_ready_seconds: number(&spec["minReadySeconds"]).unwrap_or(0),
        selector: selector(&spec["selector"]),
        template_labels: serde_json::from_value(spec["template"]["metadata"]["labels"].clone()).unwrap_or_default(),
        template: spec["template"].to_string().into(),
        status: ReplicaSetStatus {
            replicas: number(&status["replicas"]).unwrap_or(0),
            labeled: number(&status["fullyLabeledReplicas"]).unwrap_or(0),
            ready: number(&status["readyReplicas"]).unwrap_or(0),
            available: number(&status["availableReplicas"]).unwrap_or(0),
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
            conditions: conditions(&status["conditions"]),
        },
    }
}

pub(super) fn deployment(object: &DynamicObject) -> Deployment {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let count = |name: &str| number(&status[name]).unwrap_or(0);
    Deployment {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        generation: meta.generation.unwrap_or(0),
        replicas: number(&spec["replicas"]).unwrap_or(1),
        min_ready_seconds: number(&spec["minReadySeconds"]).unwrap_or(0),
        paused: spec["paused"].as_bool().unwrap_or(false),
        recreate: spec["strategy"]["type"] == "Recreate",
        max_surge: spec["strategy"]["rollingUpdate"]["maxSurge"].clone(),
        max_unavailable: spec["strategy"]["rollingUpdate"]["maxUnavailable"].clone(),
        // The largest number means that there is no deadline.
        progress_deadline: number(&spec["progressDeadlineSeconds"]).filter(|seconds| *seconds != i32::MAX),
        history_limit: number(&spec["revisionHistoryLimit"]).unwrap_or(10),
        selector: selector(&spec["selector"]),
        selector_json: spec["selector"].clone(),
        template: spec["template"].to_string().into(),
        status: DeploymentStatus {
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
            replicas: count("replicas"),
            updated: count("updatedReplicas"),
            ready: count("readyReplicas"),
            available: count("availableReplicas"),
            unavailable: count("unavailableReplicas"),
            collisions: count("collisionCount"),
            conditions: conditions(&status["conditions"]),
        },
    }
}

pub(super) fn budget(object: &policy::PodDisruptionBudget) -> Budget {
    let (meta, spec, status) = (&object.metadata, object.spec.as_ref(), object.status.as_ref());
    let selector = spec.and_then(|spec| spec.selector.as_ref()).and_then(|selector| {
        let json = serde_json::to_value(selector).ok()?;
        Selector::from_label_selector(Some(&json)).ok()
    });
    let disrupted = status
        .and_then(|status| status.disrupted_pods.as_ref())
        .into_iter()
        .flatten();
    let condition = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "DisruptionAllowed");
    Budget {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        selector,
        min_available: spec.and_then(|spec| amount(spec.min_available.as_ref()?)),
        max_unavailable: spec.and_then(|spec| amount(spec.max_unavailable.as_ref()?)),
        status: BudgetStatus {
            version: meta.resource_version.clone().unwrap_or_default(),
            allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
            healthy: status.and_then(|status| status.current_healthy).unwrap_or(0),
            desired: status.and_then(|status| status.desired_healthy).unwrap_or(0),
            expected: status.and_then(|status| status.expected_pods).unwrap_or(0),
            observed_generation: status.and_then(|status| status.observed_generation).unwrap_or(0),
            disrupted: disrupted.map(|(name, since)| (name.clone(), since.0)).collect(),
            condition: condition.map(|known| Condition {
                kind: known.type_.clone(),
                status: known.status.clone(),
                reason: known.reason.clone(),
                message: known.message.clone(),
                updated: Some(known.last_transition_time.0),
                changed: Some(known.last_transition_time.0),
            }),
        },
    }
}

fn amount(value: &IntOrString) -> Option<Amount> {
    match value {
        IntOrString::Int(number) => Some(Amount::Number(*number)),
        IntOrString::String(text) => Some(Amount::Percent(text.strip_suffix('%')?.parse().ok()?)),
    }
}

pub(super) fn number(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| i32::try_from(number).ok())
}

/// A label selector, or a replication controller's plain map. An empty one selects nothing here.
pub(super) fn selector(value: &Value) -> Option<Selector> {
    let map = value.as_object().filter(|map| !map.is_empty())?;
    if map.contains_key("matchLabels") || map.contains_key("matchExpressions") {
        return Selector::from_label_selector(Some(value)).ok();
    }
    Selector::from_label_selector(Some(&serde_json::json!({ "matchLabels": value }))).ok()
}

pub(super) fn conditions(value: &Value) -> Vec<Condition> {
    value.as_array().into_iter().flatten().map(condition).collect()
}

fn condition(value: &Value) -> Condition {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let time = |name: &str| value[name].as_str().and_then(|text| text.parse().ok());
    Condition {
        kind: text("type"),
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
        updated: time("lastUpdateTime"),
        changed: time("lastTransitionTime"),
    }
}

pub(super) fn service(service: &core::Service) -> Service {
    let spec = service.spec.clone().unwrap_or_default();
    Service {
        key: key(&service.metadata),
        uid: service.metadata.uid.clone().unwrap_or_default(),
        labels: service.metadata.labels.clone().unwrap_or_default(),
        deleting: service.metadata.deletion_timestamp.is_some(),
        selector: spec.selector.filter(|selector| !selector.is_empty()),
        headless: spec.cluster_ip.as_deref() == Some("None"),
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        distribution: spec.traffic_distribution,
        families: spec.ip_families.unwrap_or_default(),
        ports: spec.ports.unwrap_or_default(),
    }
}

pub(super) fn slice(slice: &discovery::EndpointSlice) -> Slice {
    let meta = &slice.metadata;
    let labels = meta.labels.clone().unwrap_or_default();
    let manager = labels.get("endpointslice.kubernetes.io/managed-by").map(String::as_str);
    let of = |controller: &str| {
        let name = labels
            .get("kubernetes.io/service-name")
            .filter(|_| manager == Some(controller));
        name.map(|name| format!("{}/{name}", meta.namespace.as_deref().unwrap_or_default()))
    };
    Slice {
        mirrored: of(crate::mirror::NAME),
        service: of("endpointslice-controller.k8s.io"),
        annotations: meta.annotations.clone().unwrap_or_default(),
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        labels,
        address_type: slice.address_type.clone(),
        endpoints: slice.endpoints.clone().unwrap_or_default(),
        ports: slice.ports.clone().unwrap_or_default(),
    }
}

pub(super) fn endpoints(endpoints: &core::Endpoints) -> Endpoints {
    let meta = &endpoints.metadata;
    let labels = meta.labels.clone().unwrap_or_default();
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    // An old form of leader election lives in Endpoints and changes every few seconds.
    let is_mirrored = labels
        .get("endpointslice.kubernetes.io/skip-mirror")
        .map(String::as_str)
        != Some("true")
        && !annotations.contains_key("control-plane.alpha.kubernetes.io/leader")
        && meta.deletion_timestamp.is_none();
    annotations.remove("endpoints.kubernetes.io/last-change-trigger-time");
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    Endpoints {
        uid: meta.uid.clone().unwrap_or_default(),
        annotations,
        is_mirrored,
        ours: labels.get("endpoints.kubernetes.io/managed-by").map(String::as_str) == Some("endpoint-controller"),
        labels,
        subsets: endpoints.subsets.clone().unwrap_or_default(),
    }
}

pub(super) fn namespace(namespace: &core::Namespace) -> Namespace {
    let conditions = namespace
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let conditions = conditions.into_iter().map(|c| Condition {
        kind: c.type_,
        status: c.status,
        reason: c.reason.unwrap_or_default(),
        message: c.message.unwrap_or_default(),
        updated: None,
        changed: c.last_transition_time.map(|time| time.0),
    });
    Namespace {
        deleting: namespace.metadata.deletion_timestamp.is_some(),
        finalizers: namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.clone())
            .unwrap_or_default(),
        conditions: conditions.collect(),
    }
}

pub(super) fn root_ca(map: &core::ConfigMap) -> RootCa {
    let certificate = map
        .data
        .as_ref()
        .and_then(|data| data.get("ca.crt").cloned())
        .unwrap_or_default();
    RootCa {
        key: key(&map.metadata),
        certificate,
    }
}

pub(super) fn node(node: &core::Node) -> Node {
    let spec = node.spec.clone().unwrap_or_default();
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let addresses = node
        .status
        .as_ref()
        .and_then(|status| status.addresses.clone())
        .unwrap_or_default();
    let heartbeat = conditions
        .iter()
        .filter_map(|c| c.last_heartbeat_time.as_ref().map(|time| time.0))
        .max();
    let conditions = conditions.into_iter().map(|c| Condition {
        kind: c.type_,
        status: c.status,
        reason: c.reason.unwrap_or_default(),
        message: c.message.unwrap_or_default(),
        updated: c.last_heartbeat_time.map(|time| time.0),
        changed: c.last_transition_time.map(|time| time.0),
    });
    let labels = node.metadata.labels.as_ref();
    let zone = labels
        .and_then(|labels| labels.get("topology.kubernetes.io/zone"))
        .cloned();
    let mut pod_cidrs = spec.pod_cidrs.unwrap_or_default();
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(spec.pod_cidr);
    }
    Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        version: node.metadata.resource_version.clone().unwrap_or_default(),
        addresses: addresses.into_iter().map(|address| address.address).collect(),
        taints: spec.taints.unwrap_or_default(),
        unschedulable: spec.unschedulable.unwrap_or(false),
        pod_cidrs,
        zone,
        conditions: conditions.collect(),
        heartbeat,
    }
}

pub(super) fn lease(lease: &coordination::Lease) -> Lease {
    let renewed = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| time.0);
    Lease {
        name: lease.metadata.name.clone().unwrap_or_default(),
        renewed,
    }
}

/// Secrets of another type are none of the controllers' business.
pub(super) fn bootstrap_token(secret: &core::Secret) -> Option<BootstrapToken> {
    if secret.type_.as_deref() != Some("bootstrap.kubernetes.io/token") {
        return None;
    }
    let expiration = secret.data.as_ref().and_then(|data| data.get("expiration"));
    Some(BootstrapToken {
        uid: secret.metadata.uid.clone().unwrap_or_default(),
        expiration: expiration.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()),
    })
}

pub(super) fn request(request: &certificates::CertificateSigningRequest) -> SigningRequest {
    let (spec, status) = (&request.spec, request.status.clone().unwrap_or_default());
    let conditions = status.conditions.unwrap_or_default();
    let has = |kind: &str| {
        conditions
            .iter()
            .any(|condition| condition.type_ == kind && condition.status == "True")
    };
    SigningRequest {
        key: key(&request.metadata),
        signer: spec.signer_name.clone(),
        username: spec.username.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        usages: spec.usages.clone().unwrap_or_default(),
        seconds: spec.expiration_seconds,
        request: spec.request.0.clone(),
        approved: has("Approved"),
        denied: has("Denied"),
        failed: has("Failed"),
        signed: status.certificate.is_some_and(|certificate| !certificate.0.is_empty()),
    }
}

pub(super) fn migration(migration: &migration::StorageVersionMigration) -> Migration {
    let conditions = migration.status.as_ref().and_then(|status| status.conditions.as_ref());
    let resource = migration
        .spec
        .as_ref()
        .map(|spec| spec.resource.clone())
        .unwrap_or_default();
    Migration {
        created: migration.metadata.creation_timestamp.as_ref().map(|time| time.0),
        group: resource.group,
        resource: resource.resource,
        status: serde_json::to_value(&migration.status).unwrap_or_default(),
        ended: conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.status == "True" && matches!(condition.type_.as_str(), "Succeeded" | "Failed")),
    }
}

pub(super) fn policy(policy: &DynamicObject) -> Policy {
    Policy {
        key: key(&policy.metadata),
        named: crate::policies::named(&policy.data).into_iter().collect(),
    }
}

pub(super) fn definition(definition: &DynamicObject) -> Definition {
    let spec = &definition.data["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Definition {
        group: text(&spec["group"]),
        plural: text(&spec["names"]["plural"]),
        singular: text(&spec["names"]["singular"]),
    }
}
