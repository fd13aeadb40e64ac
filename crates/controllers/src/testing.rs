//! Small values for golden scenarios.

use client::ObjectKey;
use jiff::Timestamp;
use serde_json::json;

use crate::world::{Deployment, DeploymentStatus, Labels, Phase, Pod, ReplicaSet, ReplicaSetStatus};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn pod(name: &str) -> Pod {
    Pod {
        key: ObjectKey::namespaced("d", name),
        uid: name.into(),
        labels: labels(&[("app", "web")]),
        owner: None,
        created: at(0),
        deleting: false,
        node: None,
        meant_for: None,
        phase: Phase::Pending,
        ready: None,
        addresses: Vec::new(),
        hostname: None,
        subdomain: None,
        ports: Vec::new(),
        restarts: 0,
        deletion_cost: 0,
        tolerations: Vec::new(),
        job: None,
        counted: 0,
    }
}

pub(crate) fn replica_set(name: &str, replicas: i32) -> ReplicaSet {
    let selector = json!({ "matchLabels": { "app": "web" } });
    ReplicaSet {
        key: ObjectKey::namespaced("d", name),
        uid: name.into(),
        version: "1".into(),
        labels: Labels::new(),
        annotations: Labels::new(),
        owner: None,
        created: at(0),
        deleting: false,
        generation: 1,
        replicas,
        min_ready_seconds: 0,
        selector: meta::labels::Selector::from_label_selector(Some(&selector)).ok(),
        template_labels: labels(&[("app", "web")]),
        template: "{}".into(),
        status: ReplicaSetStatus::default(),
    }
}

pub(crate) fn deployment(replicas: i32) -> Deployment {
    let selector = json!({ "matchLabels": { "app": "web" } });
    Deployment {
        key: ObjectKey::namespaced("d", "web"),
        uid: "dep".into(),
        annotations: Labels::new(),
        deleting: false,
        generation: 1,
        replicas,
        min_ready_seconds: 0,
        paused: false,
        recreate: false,
        max_surge: json!("25%"),
        max_unavailable: json!("25%"),
        progress_deadline: Some(600),
        history_limit: 10,
        selector: meta::labels::Selector::from_label_selector(Some(&selector)).ok(),
        selector_json: selector,
        template: r#"{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"v2"}]}}"#.into(),
        status: DeploymentStatus::default(),
    }
}
