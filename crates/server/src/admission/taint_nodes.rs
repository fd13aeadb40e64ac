//! A new node takes no pods until it has said that it is ready.

use async_trait::async_trait;
use meta::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(crate) struct TaintNodes;

#[async_trait]
impl Plugin for TaintNodes {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create && review.is("", "nodes", "")
    }

    async fn mutate(&self, _review: &Review<'_>, node: &mut Value) -> Result<(), Status> {
        let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
        match node["spec"]["taints"].as_array_mut() {
            Some(list) => {
                if !list
                    .iter()
                    .any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule")
                {
                    list.push(taint);
                }
            }
            None => node["spec"]["taints"] = json!([taint]),
        }
        Ok(())
    }
}
