//! `scale`: the number of replicas as an object of its own.

use api::custom::ScalePaths;
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
        let current = update::current(&call.core, &call.kind, call.namespace(), name).await?;
        let current = current.ok_or_else(|| call.kind.not_found(name))?;
        if let Some(paths) = custom(call)
            && at(&current.tree, &paths.spec_replicas).is_none()
        {
            return Err(Status::internal(format!(
                "the spec replicas field {:?} does not exist",
                paths.spec_replicas
            )));
        }
        return Ok(Answer::Tree {
            code: StatusCode::OK,
            object: of(call, &current.tree),
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
        put(call, &mut object, &scale)?;
        // Without a revision it is for whatever is there now, and tried again when that has changed meanwhile.
        let demanded = text(&scale, &["metadata", "resourceVersion"]);
        if !demanded.is_empty() {
            object["metadata"]["resourceVersion"] = demanded.into();
        }
        Ok(Wanted::of(object))
    });
    let updated = updated.await?;
    let tree = call.kind.tree(&updated.stored, updated.revision)?;
    Ok(Answer::Tree {
        code: StatusCode::OK,
        object: of(call, &tree),
    })
}

fn wanted(call: &Call, options: &WriteOptions, current: &Value) -> Result<Value, Status> {
    if call.verb != "patch" {
        return decode::other(call, VERSION, "Scale");
    }
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    let mut scale = of(call, current);
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

/// Where a custom resource has what its scale shows.
fn custom(call: &Call) -> Option<&ScalePaths> {
    call.kind.row.custom.as_ref()?.scale()
}

/// The value at a path of names such as `.spec.replicas`.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let names = path.trim_start_matches('.').split('.');
    names.into_iter().try_fold(object, |value, name| value.get(name))
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for name in path.trim_start_matches('.').split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value;
}

/// Puts the number of a scale into an object.
pub(crate) fn put(call: &Call, object: &mut Value, scale: &Value) -> Result<(), Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        let kind = GroupKind::new("autoscaling", "Scale");
        return Err(Status::invalid(&kind, object::name(object), &[error]));
    }
    match custom(call) {
        Some(paths) => set(object, &paths.spec_replicas, replicas.into()),
        None => object["spec"]["replicas"] = replicas.into(),
    }
    Ok(())
}

/// The scale of an object.
pub(crate) fn of(call: &Call, object: &Value) -> Value {
    let custom = custom(call);
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let (replicas, observed) = match custom {
        Some(paths) => (number(&paths.spec_replicas), number(&paths.status_replicas)),
        None => (number(".spec.replicas"), number(".status.replicas")),
    };
    let mut metadata = json!({"name": object::name(object), "namespace": object::namespace(object)});
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": VERSION, "metadata": metadata,
        "spec": {}, "status": {"replicas": observed},
    });
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = match (custom, call.kind.resource.resource.as_str()) {
        (Some(paths), _) => at(object, &paths.label_selector)
            .and_then(Value::as_str)
            .map(str::to_owned),
        (None, "replicationcontrollers") => object.pointer("/spec/selector").map(map_text),
        (None, _) => meta::labels::Selector::from_label_selector(object.pointer("/spec/selector"))
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
