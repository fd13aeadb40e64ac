//! ExtendedResourceToleration: a pod that asks for an extended resource tolerates the taint of the nodes that have it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use meta::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};

pub(crate) struct ExtendedResourceToleration;

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation != Operation::Delete && review.is("", "pods", "")
    }

    async fn mutate(&self, _review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let lists = ["containers", "initContainers"].iter();
        let containers = lists.filter_map(|list| pod["spec"][list].as_array()).flatten();
        let requests = containers.filter_map(|container| container["resources"]["requests"].as_object());
        let names = requests.flat_map(|requests| requests.keys());
        let extended: BTreeSet<String> = names.filter(|name| api::quota::is_extended(name)).cloned().collect();
        for name in extended {
            let toleration = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
            if !pod["spec"]["tolerations"].is_array() {
                pod["spec"]["tolerations"] = json!([]);
            }
            let Some(list) = pod["spec"]["tolerations"].as_array_mut() else {
                continue;
            };
            if !list.iter().any(|known| same_taint(known, &toleration)) {
                list.push(toleration);
            }
        }
        Ok(())
    }
}

fn same_taint(a: &Value, b: &Value) -> bool {
    let fields = ["key", "operator", "value", "effect"];
    fields.iter().all(|field| {
        let text = |value: &Value| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        text(a) == text(b)
    }) && a.get("tolerationSeconds").is_none_or(Value::is_null)
}
