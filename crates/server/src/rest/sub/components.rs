//! `componentstatuses`: how the cluster's parts are. The controllers, the scheduler and the store live in this process,
//! so they are asked directly.

use http::StatusCode;
use jiff::Timestamp;
use meta::Status;
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::endpoints::health;
use crate::http::negotiate::Shape;
use crate::rest::select::Selected;
use crate::rest::table::{self, Include};
use crate::rest::{answer, render};

/// The parts, by the names that clients know, each with the check that tells how it is.
const PARTS: [(&str, &str); 3] = [
    ("scheduler", "informer-sync"),
    ("controller-manager", "informer-sync"),
    ("etcd-0", "etcd"),
];

/// Answers a get or a list.
pub(super) async fn statuses(call: &Call) -> Result<Answer, Status> {
    call.warn("v1 ComponentStatus is deprecated in v1.19+");
    let selected = Selected::parse(call)?;
    let mut found = Vec::new();
    for (name, check) in PARTS {
        if fits(&selected, name) && call.path.name.as_deref().is_none_or(|wanted| wanted == name) {
            found.push(status(name, health::is_good(&call.core, check).await));
        }
    }
    if call.verb == "get" && found.is_empty() {
        return Err(call.kind.not_found(call.name()?));
    }
    let shown = shown(call, found)?;
    let bytes = render::tree(&shown, call.wanted)?;
    Ok(Answer::Raw(answer::full(StatusCode::OK, call.wanted, bytes)))
}

/// The parts as they are asked for; a get has one.
fn shown(call: &Call, mut found: Vec<Value>) -> Result<Value, Status> {
    let one = call.verb == "get";
    if call.wanted.shape == Shape::Table {
        let include = Include::parse(call)?;
        let row = |object: &Value| {
            let shown = match include {
                Include::None => Value::Null,
                Include::Object => object.clone(),
                Include::Metadata => table::partial(object),
            };
            json!({"cells": call.kind.rules.cells(object, Timestamp::now()), "object": shown})
        };
        let rows = found.iter().map(row).collect();
        return Ok(table::table(&call.kind, json!({}), rows, true));
    }
    let partial = call.wanted.shape == Shape::Partial;
    if partial {
        found = found.iter().map(table::partial).collect();
    }
    if one {
        return Ok(found.swap_remove(0));
    }
    let (kind, version) = match partial {
        true => ("PartialObjectMetadataList", "meta.k8s.io/v1"),
        false => ("ComponentStatusList", "v1"),
    };
    Ok(json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": found}))
}

/// They have names and no labels.
fn fits(selected: &Selected, name: &str) -> bool {
    let fields = [("metadata.name".to_owned(), name.to_owned())];
    let labels: [(String, String); 0] = [];
    selected.labels.matches(&labels[..]) && selected.fields.matches(&fields[..])
}

fn status(name: &str, good: bool) -> Value {
    let condition = match good {
        true => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        false => json!({"type": "Healthy", "status": "False", "error": "not ready"}),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": name}, "conditions": [condition],
    })
}
