//! PodTopologyLabels: a pod that is bound carries the zone and the region of its node.

use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::object::text;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(crate) struct PodTopologyLabels;

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create && (review.is("", "pods", "") || review.is("", "pods", "binding"))
    }

    /// The labels of a binding are given to its pod.
    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let node = match review.subresource {
            "binding" => text(object, &["target", "name"]),
            _ => text(object, &["spec", "nodeName"]),
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = review.core.cached_tree("", "nodes", &ObjectKey::cluster(node)) else {
            return Ok(());
        };
        for label in LABELS {
            if let Some(value) = node["metadata"]["labels"].get(label) {
                if !object["metadata"]["labels"].is_object() {
                    object["metadata"]["labels"] = json!({});
                }
                object["metadata"]["labels"][label] = value.clone();
            }
        }
        Ok(())
    }
}
