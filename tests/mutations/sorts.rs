//! What is written: kinds with and without subresources, built in and custom, in namespaces and outside, and how an
//! object of each carries the number of the write that made it so.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Who writes an object; what has none is nobody's.
pub(crate) const WRITER: &str = "writer";
/// The half of a writer's objects that it is in: changes with each write.
pub(crate) const SIDE: &str = "side";
/// The number of the last write.
const MARK: &str = "test/mark";

/// A kind of the test.
#[derive(Debug)]
pub(crate) struct Sort {
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    /// `v1`, or group and version.
    pub(crate) version: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) custom: bool,
    pub(crate) status: bool,
    pub(crate) scale: bool,
    /// An update needs no resourceVersion.
    pub(crate) blind: bool,
    /// Controllers write to it as well.
    pub(crate) shared: bool,
    /// How many objects the writer has; none writes the others.
    pub(crate) objects: usize,
    /// A minimal object.
    base: fn() -> Value,
    /// What a write of this number changes in it.
    change: fn(u64) -> Value,
}

const PLAIN: Sort = Sort {
    plural: "configmaps",
    kind: "ConfigMap",
    version: "v1",
    namespaced: true,
    custom: false,
    status: false,
    scale: false,
    blind: true,
    shared: false,
    objects: 3,
    base: || json!({}),
    change: |mark| json!({"data": {"mark": mark.to_string(), "also": mark.to_string()}}),
};

/// All of them.
pub(crate) static SORTS: [Sort; 9] = [
    PLAIN,
    Sort {
        plural: "secrets",
        kind: "Secret",
        change: |mark| json!({"data": {"mark": BASE64_STANDARD.encode(mark.to_string())}}),
        ..PLAIN
    },
    Sort {
        plural: "leases",
        kind: "Lease",
        version: "coordination.k8s.io/v1",
        blind: false,
        change: |mark| json!({"spec": {"holderIdentity": mark.to_string(), "leaseTransitions": mark}}),
        ..PLAIN
    },
    Sort {
        plural: "priorityclasses",
        kind: "PriorityClass",
        version: "scheduling.k8s.io/v1",
        namespaced: false,
        base: || json!({"value": 7}),
        change: |mark| json!({"description": mark.to_string()}),
        ..PLAIN
    },
    Sort {
        plural: "services",
        kind: "Service",
        status: true,
        base: || json!({"spec": {"ports": [{"port": 80}]}}),
        change: |mark| json!({"spec": {"ports": [{"port": 80, "targetPort": 1 + mark % 60_000}]}}),
        ..PLAIN
    },
    Sort {
        plural: "pods",
        kind: "Pod",
        status: true,
        base: pod,
        change: |mark| json!({"spec": {"containers": [{"name": "main", "image": format!("test.local/none:{mark}")}]}}),
        ..PLAIN
    },
    Sort {
        plural: "deployments",
        kind: "Deployment",
        version: "apps/v1",
        scale: true,
        shared: true,
        objects: 2,
        base: deployment,
        change: |mark| json!({"spec": {"revisionHistoryLimit": mark}}),
        ..PLAIN
    },
    Sort {
        plural: "replicasets",
        kind: "ReplicaSet",
        version: "apps/v1",
        shared: true,
        objects: 0,
        base: deployment,
        change: |mark| json!({"spec": {"minReadySeconds": mark}}),
        ..PLAIN
    },
    Sort {
        plural: "widgets",
        kind: "Widget",
        version: "test.example.com/v1",
        custom: true,
        status: true,
        scale: true,
        blind: false,
        base: || json!({"spec": {"replicas": 0}}),
        change: |mark| json!({"spec": {"size": mark, "words": [mark.to_string()]}}),
        ..PLAIN
    },
];

/// Nobody schedules it, and nothing evicts it but the test.
fn pod() -> Value {
    json!({"spec": {
        "schedulerName": "nobody",
        "automountServiceAccountToken": false,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "main", "image": "test.local/none:0"}],
    }})
}

fn deployment() -> Value {
    let labels = json!({"app": "deployed"});
    let container = json!({"name": "main", "image": "test.local/none:0"});
    json!({"spec": {
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }})
}

/// The definition of the custom kind.
pub(crate) fn definition() -> Value {
    let number = json!({"type": "integer"});
    let properties = json!({
        "spec": {"type": "object", "properties": {
            "size": number, "replicas": number, "words": {"type": "array", "items": {"type": "string"}},
        }},
        "status": {"type": "object", "properties": {"mark": number, "replicas": number}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.test.example.com"},
        "spec": {
            "group": "test.example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
            }],
        },
    })
}

// === impl Sort ===

impl Sort {
    /// Where all of its objects are listed, over all namespaces.
    pub(crate) fn everywhere(&self) -> String {
        let root = if self.version == "v1" { "/api" } else { "/apis" };
        format!("{root}/{}/{}", self.version, self.plural)
    }

    /// Where the test's objects are.
    pub(crate) fn collection(&self) -> String {
        let root = if self.version == "v1" { "/api" } else { "/apis" };
        match self.namespaced {
            true => format!("{root}/{}/namespaces/default/{}", self.version, self.plural),
            false => self.everywhere(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.collection())
    }

    /// What an object has after the write of this number.
    pub(crate) fn marked(&self, mark: u64) -> Value {
        let mut change = (self.change)(mark);
        let metadata = json!({"metadata": {"annotations": {MARK: mark.to_string()}, "labels": {SIDE: side(mark)}}});
        merge(&mut change, &metadata);
        change
    }

    /// A whole object.
    pub(crate) fn object(&self, name: &str, writer: &str, mark: u64) -> Value {
        let mut object = (self.base)();
        merge(&mut object, &self.marked(mark));
        let head = json!({
            "apiVersion": self.version, "kind": self.kind,
            "metadata": {"name": name, "labels": {WRITER: writer}},
        });
        merge(&mut object, &head);
        object
    }

    /// What the write of a status leaves there.
    pub(crate) fn status(&self, mark: u64) -> Value {
        match self.kind {
            "Widget" => json!({"status": {"mark": mark}}),
            "Service" => json!({"status": {"conditions": [{
                "type": "Mark", "status": "True", "reason": "Marked", "message": mark.to_string(),
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }]}}),
            _ => json!({"status": {"message": mark.to_string()}}),
        }
    }
}

/// Which half the write of this number puts an object into.
pub(crate) fn side(mark: u64) -> &'static str {
    if mark.is_multiple_of(2) { "left" } else { "right" }
}

/// A JSON merge patch without removals.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// Whether an object has all that another one has: members of lists in their places.
pub(crate) fn has(object: &Value, part: &Value) -> bool {
    match (object, part) {
        (Value::Object(object), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| object.get(key).is_some_and(|value| has(value, part))),
        (Value::Array(object), Value::Array(part)) => {
            object.len() == part.len() && object.iter().zip(part).all(|(value, part)| has(value, part))
        }
        _ => object == part,
    }
}

/// The revision that an object is at.
pub(crate) fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse()
        .unwrap_or_else(|_| panic!("the resourceVersion {text:?} of {object}"))
}

/// Namespace and name.
pub(crate) fn key(object: &Value) -> String {
    let metadata = &object["metadata"];
    let part = |name: &str| metadata[name].as_str().unwrap_or_default();
    format!("{}/{}", part("namespace"), part("name"))
}
