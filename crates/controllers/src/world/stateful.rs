//! Stateful sets as small values.

use kube::api::DynamicObject;
use meta::ObjectKey;
use meta::labels::Selector;
use serde_json::Value;

use super::model::Labels;
use super::project::{key, number, selector};

#[derive(Debug, Clone)]
pub(crate) struct StatefulSet {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) annotations: Labels,
    pub(crate) deleting: bool,
    pub(crate) generation: i64,
    pub(crate) replicas: i32,
    /// The first pod's number.
    pub(crate) start: i32,
    pub(crate) selector: Option<Selector>,
    /// What claims for its pods are labelled with.
    pub(crate) match_labels: Labels,
    pub(crate) template: Box<str>,
    pub(crate) service: String,
    /// Pods are made and deleted without waiting for one another.
    pub(crate) parallel: bool,
    /// Pods are replaced when somebody deletes them, not before.
    pub(crate) on_delete: bool,
    /// Pods below this number stay as they are.
    pub(crate) partition: i32,
    pub(crate) max_unavailable: Value,
    pub(crate) min_ready_seconds: i32,
    pub(crate) history_limit: i32,
    /// Templates of claims as compact JSON, by their names.
    pub(crate) claims: Vec<(String, Box<str>)>,
    /// Claims go with the set.
    pub(crate) claims_go_with_set: bool,
    /// Claims go with pods that are scaled away.
    pub(crate) claims_go_with_pods: bool,
    pub(crate) status: StatefulStatus,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StatefulStatus {
    pub(crate) observed_generation: i64,
    pub(crate) replicas: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) current: i32,
    pub(crate) updated: i32,
    pub(crate) current_revision: String,
    pub(crate) update_revision: String,
    pub(crate) collisions: i32,
}

pub(super) fn stateful_set(object: &DynamicObject) -> StatefulSet {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let count = |name: &str| number(&status[name]).unwrap_or(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    let claims = spec["volumeClaimTemplates"].as_array().into_iter().flatten();
    StatefulSet {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        generation: meta.generation.unwrap_or(0),
        replicas: number(&spec["replicas"]).unwrap_or(1),
        start: number(&spec["ordinals"]["start"]).unwrap_or(0),
        selector: selector(&spec["selector"]),
        match_labels: serde_json::from_value(spec["selector"]["matchLabels"].clone()).unwrap_or_default(),
        template: spec["template"].to_string().into(),
        service: text(&spec["serviceName"]),
        parallel: spec["podManagementPolicy"] == "Parallel",
        on_delete: spec["updateStrategy"]["type"] == "OnDelete",
        partition: number(&rolling["partition"]).unwrap_or(0),
        max_unavailable: rolling["maxUnavailable"].clone(),
        min_ready_seconds: number(&spec["minReadySeconds"]).unwrap_or(0),
        history_limit: number(&spec["revisionHistoryLimit"]).unwrap_or(10),
        claims: claims
            .map(|claim| (text(&claim["metadata"]["name"]), claim.to_string().into()))
            .collect(),
        claims_go_with_set: retention["whenDeleted"] == "Delete",
        claims_go_with_pods: retention["whenScaled"] == "Delete",
        status: StatefulStatus {
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
            replicas: count("replicas"),
            ready: count("readyReplicas"),
            available: count("availableReplicas"),
            current: count("currentReplicas"),
            updated: count("updatedReplicas"),
            current_revision: text(&status["currentRevision"]),
            update_revision: text(&status["updateRevision"]),
            collisions: count("collisionCount"),
        },
    }
}
