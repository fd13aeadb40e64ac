//! RuntimeClass: a pod of a class gets the overhead of its sandbox, and goes to nodes that have the runtime.

use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::{Value, json};

use super::{Operation, Plugin, Review, toleration};

pub(crate) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create && review.is("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let Some(class) = class(review, pod).await? else {
            return Ok(());
        };
        let overhead = &class["overhead"]["podFixed"];
        if class["overhead"].is_object() {
            let given = &pod["spec"]["overhead"];
            if given.as_object().is_some_and(|given| !given.is_empty()) && !same_amounts(given, overhead) {
                return Err(differs(review));
            }
            pod["spec"]["overhead"] = overhead.clone();
        }
        if class["scheduling"].is_object() {
            schedule(review, &class["scheduling"], pod)?;
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = pod else { return Ok(()) };
        let class = class(review, pod).await?;
        let overhead = class.as_ref().map(|class| &class["overhead"]);
        let given = &pod["spec"]["overhead"];
        match overhead.filter(|overhead| overhead.is_object()) {
            Some(overhead) if !same_amounts(&overhead["podFixed"], given) => Err(differs(review)),
            None if !given.is_null() => {
                Err(review
                    .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            _ => Ok(()),
        }
    }
}

fn differs(review: &Review<'_>) -> Status {
    review.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

async fn class(review: &Review<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let Some(name) = pod["spec"].get("runtimeClassName").and_then(Value::as_str) else {
        return Ok(None);
    };
    let (group, plural, key) = ("node.k8s.io", "runtimeclasses", ObjectKey::cluster(name));
    let class = match review.core.cached_tree(group, plural, &key) {
        Some(class) => Some(class),
        None => review.core.fresh_tree(group, plural, &key).await?,
    };
    match class {
        Some(class) => Ok(Some(class)),
        None => Err(review.forbidden(format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

fn same_amounts(a: &Value, b: &Value) -> bool {
    api::quota::Amounts::read(a) == api::quota::Amounts::read(b)
}

fn schedule(review: &Review<'_>, scheduling: &Value, pod: &mut Value) -> Result<(), Status> {
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let wanted = value.as_str().unwrap_or_default();
        match pod["spec"]["nodeSelector"].get(key).and_then(Value::as_str) {
            Some(own) if own != wanted => {
                return Err(review.forbidden(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
                )));
            }
            _ => pod["spec"]["nodeSelector"][key] = value.clone(),
        }
    }
    let list = |value: &Value| value["tolerations"].as_array().cloned().unwrap_or_default();
    let merged = toleration::merge(&list(&pod["spec"]), &list(scheduling));
    if !merged.is_empty() {
        pod["spec"]["tolerations"] = json!(merged);
    }
    Ok(())
}
