//! Bindings: the scheduler gives a pod its node.

use std::sync::Arc;

use http::StatusCode;
use meta::{FieldError, Status};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::admission::{Operation, Review};
use crate::object::{self, text};
use crate::rest::decode;
use crate::rest::options::WriteOptions;
use crate::rest::update::{self, Strategy, Target, Wanted};

/// Answers a POST to `pods/NAME/binding`.
pub(super) async fn of_pod(call: &Call) -> Result<Answer, Status> {
    let mut binding = decode::other(call, "v1", "Binding")?;
    let name = call.name()?;
    admit(call, name, &mut binding).await?;
    bind(call, name, &binding).await
}

/// Answers a POST to `bindings`, where the binding names the pod.
pub(super) async fn of_collection(call: &Call) -> Result<Answer, Status> {
    let mut binding = decode::other(call, "v1", "Binding")?;
    let name = object::name(&binding).to_owned();
    admit(call, &name, &mut binding).await?;
    bind(call, &name, &binding).await
}

async fn admit(call: &Call, name: &str, binding: &mut Value) -> Result<(), Status> {
    let review = Review::of_subresource(call, name, Operation::Create);
    call.core.admission.pass(&review, binding).await
}

async fn bind(call: &Call, name: &str, binding: &Value) -> Result<Answer, Status> {
    let options = WriteOptions::parse(call, "CreateOptions")?;
    let given = object::name(binding);
    if !given.is_empty() && given != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    check(binding, name)?;
    let node = text(binding, &["target", "name"]).to_owned();
    let pods = call
        .core
        .kinds
        .find("", "v1", "pods")
        .ok_or_else(Status::no_such_resource)?;
    let target = Target {
        kind: &pods,
        namespace: call.namespace(),
        name,
        subresource: "binding",
        strategy: Strategy::Made,
    };
    update::change(call, &options, &target, |current| {
        bound(&pods, name, &node, binding, current)
    })
    .await?;
    let mut status = Status::success(None).to_value();
    status["code"] = json!(201);
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object: status,
    })
}

fn check(binding: &Value, name: &str) -> Result<(), Status> {
    let mut errors = Vec::new();
    let kind = text(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if text(binding, &["target", "name"]).is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&meta::GroupKind::new("", "Binding"), name, &errors))
}

fn bound(
    pods: &Arc<crate::kinds::Kind>,
    name: &str,
    node: &str,
    binding: &Value,
    current: &Value,
) -> Result<Wanted, Status> {
    let conflict = |why: String| {
        Err(Status::conflict(
            &meta::GroupResource::new("", "pods/binding"),
            name,
            why,
        ))
    };
    let uid = object::uid(binding);
    if !uid.is_empty() && uid != object::uid(current) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(current)
        );
        return Err(Status::conflict(&pods.resource, name, why));
    }
    if object::is_deleting(current) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let already = text(current, &["spec", "nodeName"]);
    if !already.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {already:?}"));
    }
    if current["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty())
    {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = current.clone();
    pod["spec"]["nodeName"] = node.into();
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            pod["metadata"][field][key] = value.clone();
        }
    }
    scheduled(&mut pod);
    Ok(Wanted::of(pod))
}

/// Sets the condition `PodScheduled`.
fn scheduled(pod: &mut Value) {
    let now = meta::time::now();
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
        "observedGeneration": pod["metadata"]["generation"],
    });
    let Some(list) = pod["status"]["conditions"].as_array_mut() else {
        pod["status"]["conditions"] = json!([condition]);
        return;
    };
    match list.iter_mut().find(|known| known["type"] == "PodScheduled") {
        Some(known) => *known = condition,
        None => list.push(condition),
    }
}
