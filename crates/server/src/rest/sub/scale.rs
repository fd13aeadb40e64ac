//! `scale`: the number of replicas as an object of its own.

use http::StatusCode;
use meta::{FieldError, GroupKind, Status};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::object::{self, text};
use crate::rest::decode;
use crate::rest::options::WriteOptions;
use crate::rest::patch::{self, Format};
use crate::rest::update::{self, Strategy, Target, Wanted};

const VERSION: &str = "autoscaling/v1";

/// Answers get, update and patch of a scale.
pub(super) async fn handle(call: &Call) -> Result<Answer, Status> {
    let name = call.name()?;
    if call.verb == "get" {
        let current = update::current(&call.kind, call.namespace(), name).await?;
        let current = current.ok_or_else(|| call.kind.not_found(name))?;
        return Ok(Answer::Tree {
            code: StatusCode::OK,
            object: of(&call.kind.resource.resource, &current.tree),
        });
    }
    let options = WriteOptions::parse(
        call,
        if call.verb == "patch" {
            "PatchOptions"
        } else {
            "UpdateOptions"
        },
    )?;
    let target = Target {
        kind: &call.kind,
        namespace: call.namespace(),
        name,
        subresource: "scale",
        strategy: Strategy::Main,
    };
    let updated = update::change(call, &options, &target, |current| {
        let scale = wanted(call, &options, current)?;
        let mut object = current.clone();
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        if replicas < 0 {
            let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
            return Err(Status::invalid(&GroupKind::new("autoscaling", "Scale"), name, &[error]));
        }
        object["spec"]["replicas"] = replicas.into();
        let demanded = text(&scale, &["metadata", "resourceVersion"]);
        match demanded {
            "" => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
            }
            revision => object["metadata"]["resourceVersion"] = revision.into(),
        }
        Ok(Wanted::of(object))
    });
    let updated = updated.await?;
    let tree = call.kind.tree(&updated.stored, updated.revision)?;
    Ok(Answer::Tree {
        code: StatusCode::OK,
        object: of(&call.kind.resource.resource, &tree),
    })
}

fn wanted(call: &Call, options: &WriteOptions, current: &Value) -> Result<Value, Status> {
    if call.verb != "patch" {
        return decode::other(call, VERSION, "Scale");
    }
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut scale = of(&call.kind.resource.resource, current);
    // A patch that names no revision is for whatever is there.
    if let Some(metadata) = scale["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    match Format::of(call)? {
        // What a scale has is scalars only: applying and merging do the same to it.
        Format::Apply | Format::Strategic => patch::patched(call, Format::Merge, &scale, &patch, options.validation),
        format => patch::patched(call, format, &scale, &patch, options.validation),
    }
}

/// The scale of an object.
fn of(plural: &str, object: &Value) -> Value {
    let mut metadata = json!({"name": object::name(object), "namespace": object::namespace(object)});
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": VERSION, "metadata": metadata,
        "spec": {}, "status": {"replicas": object.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or(0)},
    });
    if let Some(replicas) = object
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .filter(|replicas| *replicas != 0)
    {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = match plural {
        "replicationcontrollers" => object.pointer("/spec/selector").map(map_text),
        _ => meta::labels::Selector::from_label_selector(object.pointer("/spec/selector"))
            .ok()
            .map(|selector| selector.to_string()),
    };
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

fn map_text(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}
