//! Daemon sets and revisions of templates, as small values.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::api::DynamicObject;
use meta::ObjectKey;
use meta::labels::Selector;
use serde_json::Value;

use super::model::Labels;
use super::project::{created, key, number, selector};
use crate::owner::Owner;

#[derive(Debug, Clone)]
pub(crate) struct DaemonSet {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) annotations: Labels,
    pub(crate) deleting: bool,
    pub(crate) generation: i64,
    pub(crate) selector: Option<Selector>,
    pub(crate) template: Box<str>,
    pub(crate) places: Places,
    /// Pods are replaced when somebody deletes them, not before.
    pub(crate) on_delete: bool,
    pub(crate) max_surge: Value,
    pub(crate) max_unavailable: Value,
    pub(crate) min_ready_seconds: i32,
    pub(crate) history_limit: i32,
    pub(crate) status: DaemonStatus,
}

/// Where the template lets its pods be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    pub(crate) node: Option<String>,
    pub(crate) selector: Labels,
    /// Any of them; none: everywhere.
    pub(crate) terms: Option<Vec<core::NodeSelectorTerm>>,
    /// With those that every daemon's pod has.
    pub(crate) tolerations: Vec<core::Toleration>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DaemonStatus {
    pub(crate) observed_generation: i64,
    pub(crate) desired: i32,
    pub(crate) current: i32,
    pub(crate) misscheduled: i32,
    pub(crate) ready: i32,
    pub(crate) updated: i32,
    pub(crate) available: i32,
    pub(crate) unavailable: i32,
    pub(crate) collisions: i32,
}

/// A revision of a template, kept so that one can go back to it.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) owner: Option<Owner>,
    pub(crate) created: Timestamp,
    pub(crate) deleting: bool,
    pub(crate) number: i64,
    /// Compact JSON with sorted keys.
    pub(crate) data: Box<str>,
}

pub(super) fn daemon_set(object: &DynamicObject) -> DaemonSet {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let count = |name: &str| number(&status[name]).unwrap_or(0);
    DaemonSet {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        generation: meta.generation.unwrap_or(0),
        selector: selector(&spec["selector"]),
        template: spec["template"].to_string().into(),
        places: places(&spec["template"]["spec"]),
        on_delete: spec["updateStrategy"]["type"] == "OnDelete",
        max_surge: spec["updateStrategy"]["rollingUpdate"]["maxSurge"].clone(),
        max_unavailable: spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"].clone(),
        min_ready_seconds: number(&spec["minReadySeconds"]).unwrap_or(0),
        history_limit: number(&spec["revisionHistoryLimit"]).unwrap_or(10),
        status: DaemonStatus {
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
            desired: count("desiredNumberScheduled"),
            current: count("currentNumberScheduled"),
            misscheduled: count("numberMisscheduled"),
            ready: count("numberReady"),
            updated: count("updatedNumberScheduled"),
            available: count("numberAvailable"),
            unavailable: count("numberUnavailable"),
            collisions: count("collisionCount"),
        },
    }
}

fn places(spec: &Value) -> Places {
    let read = |value: &Value| serde_json::from_value(value.clone());
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let mut tolerations: Vec<core::Toleration> =
        serde_json::from_value(spec["tolerations"].clone()).unwrap_or_default();
    tolerations.extend(daemon_tolerations(spec["hostNetwork"] == true));
    Places {
        node: spec["nodeName"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        selector: read(&spec["nodeSelector"]).unwrap_or_default(),
        terms: required["nodeSelectorTerms"]
            .is_array()
            .then(|| serde_json::from_value(required["nodeSelectorTerms"].clone()).unwrap_or_default()),
        tolerations,
    }
}

/// What every daemon's pod tolerates: it belongs on its node in good times and in bad.
pub(crate) fn daemon_tolerations(host_network: bool) -> Vec<core::Toleration> {
    let all = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
        ("network-unavailable", "NoSchedule"),
    ];
    let count = if host_network { all.len() } else { all.len() - 1 };
    let toleration = |(key, effect): &(&str, &str)| core::Toleration {
        key: Some(format!("node.kubernetes.io/{key}")),
        operator: Some("Exists".into()),
        effect: Some((*effect).into()),
        ..core::Toleration::default()
    };
    all[..count].iter().map(toleration).collect()
}

pub(super) fn revision(object: &DynamicObject) -> Revision {
    let meta = &object.metadata;
    Revision {
        key: key(meta),
        uid: meta.uid.clone().unwrap_or_default(),
        labels: meta.labels.clone().unwrap_or_default(),
        owner: Owner::of(meta.owner_references.as_ref()),
        created: created(meta),
        deleting: meta.deletion_timestamp.is_some(),
        number: object.data["revision"].as_i64().unwrap_or(0),
        data: object.data["data"].to_string().into(),
    }
}
