//! PodResizeValidator: a resize that the node can never carry out is refused at once.

use api::quota::{Amounts, List, specified};
use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::object::text;

pub(crate) struct PodResize;

#[async_trait]
impl Plugin for PodResize {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Update && review.is("", "pods", "resize")
    }

    async fn validate(&self, review: &Review<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let (Some(pod), Some(old)) = (pod, review.old) else {
            return Ok(());
        };
        let node = text(pod, &["spec", "nodeName"]);
        if node.is_empty() || pod["metadata"]["generation"] == old["metadata"]["generation"] {
            return Ok(());
        }
        let Some(found) = review.core.cached_tree("", "nodes", &ObjectKey::cluster(node)) else {
            return Err(review.forbidden(format!("node {node:?} not found")));
        };
        let system = found["metadata"]["labels"]
            .get("kubernetes.io/os")
            .and_then(Value::as_str);
        if let Some(system) = system.filter(|system| *system != "linux") {
            let why = format!("pod resize is only supported on linux nodes, node {node:?} is {system:?}");
            return Err(review.forbidden(why).with_cause("UnsupportedPlatform", "", ""));
        }
        let lacking = lacking(pod, &found);
        if lacking.is_empty() {
            return Ok(());
        }
        let why = format!("node didn't have enough allocatable resources: {}", lacking.join("; "));
        Err(review.forbidden(why).with_cause("NodeCapacity", "", ""))
    }
}

/// What the pod asks for and the node could never give, other pods or none.
fn lacking(pod: &Value, node: &Value) -> Vec<String> {
    let mut requests = specified(pod, List::Requests);
    requests.add(&Amounts::read(&pod["spec"]["overhead"]));
    let allocatable = Amounts::read(&node["status"]["allocatable"]);
    let pair = |name: &str| {
        (
            requests.get(name).unwrap_or_default(),
            allocatable.get(name).unwrap_or_default(),
        )
    };
    let mut out = Vec::new();
    let (wanted, there) = pair("cpu");
    if wanted > there {
        let (wanted, there) = (wanted.millis(), there.millis());
        out.push(format!("cpu, requested: {wanted}, allocatable: {there}"));
    }
    let (wanted, there) = pair("memory");
    if wanted > there {
        let (wanted, there) = (wanted.units(), there.units());
        out.push(format!("memory, requested: {wanted}, allocatable: {there}"));
    }
    out
}
