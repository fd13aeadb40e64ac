//! `metrics.k8s.io`: what nodes and pods use, as the nodes tell at this moment. Nothing is kept here and nobody is asked
//! before somebody asks.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use jiff::Timestamp;
use meta::Status;
use serde_json::{Value, json};

use super::{Answer, Call, node_call};
use crate::core::Core;
use crate::http::negotiate::{Shape, Wanted};
use crate::kinds::Kind;
use crate::object::{self, text};
use crate::rest::select::Selected;
use crate::rest::{answer, render};

/// How long a node may take; one that takes longer has no metrics.
const PATIENCE: Duration = Duration::from_secs(5);
/// No node has more to tell.
const MOST: usize = 16 << 20;

/// Answers a get or a list of the metrics of nodes or pods.
pub(super) async fn metrics(call: &Call) -> Result<Answer, Status> {
    let of_nodes = call.kind.resource.resource == "nodes";
    let about = call.core.kinds.find("", "v1", &call.kind.resource.resource);
    let about = about.ok_or_else(Status::no_such_resource)?;
    let objects = selected(call, &about)?;
    let node_of = |object: &Value| match of_nodes {
        true => object::name(object).to_owned(),
        false => text(object, &["spec", "nodeName"]).to_owned(),
    };
    let mut nodes: Vec<String> = objects.iter().map(node_of).filter(|node| !node.is_empty()).collect();
    nodes.sort();
    nodes.dedup();
    let told = ask(&call.core, nodes).await;
    let items: Vec<Value> = objects
        .iter()
        .filter_map(|object| {
            let told = told.get(&node_of(object))?;
            if of_nodes {
                return of_node(call, object, &told.node);
            }
            of_pod(call, object, told.pods.get(object::uid(object))?)
        })
        .collect();
    let object = match call.verb {
        "get" => {
            let name = call.name()?;
            items.into_iter().next().ok_or_else(|| call.kind.not_found(name))?
        }
        _ => json!({
            "kind": call.kind.row.list_kind,
            "apiVersion": call.kind.api_version,
            "metadata": {},
            "items": items,
        }),
    };
    let wanted = Wanted {
        shape: Shape::Object,
        ..call.wanted
    };
    let bytes = render::tree(&object, wanted)?;
    Ok(Answer::Raw(answer::full(StatusCode::OK, wanted, bytes)))
}

/// The objects whose metrics are asked for.
fn selected(call: &Call, about: &Kind) -> Result<Vec<Value>, Status> {
    let selected = Selected::parse(call)?;
    let snapshot = about.cache()?.list(&selected.scope(call));
    let fitting = snapshot.iter().filter(|version| selected.matches(version));
    fitting
        .map(|version| about.tree(version.bytes(), version.revision()))
        .collect()
}

/// What a node tells.
struct Told {
    node: Value,
    /// By the pods' uids.
    pods: HashMap<String, Value>,
}

async fn ask(core: &Core, nodes: Vec<String>) -> HashMap<String, Told> {
    let asked = nodes.into_iter().map(|node| async move {
        let told = tokio::time::timeout(PATIENCE, ask_one(core, &node))
            .await
            .ok()
            .flatten();
        if told.is_none() {
            tracing::debug!(node, "a node tells nothing of its usage");
        }
        Some((node, told?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn ask_one(core: &Core, node: &str) -> Option<Told> {
    // Not worth waiting for: the others' numbers are wanted now.
    core.tunnels.get(node).ok()?;
    let none = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let answer = node_call::send_to(core, node, Method::GET, "/usage", none).await.ok()?;
    let body = Limited::new(answer.into_body(), MOST).collect().await.ok()?;
    let mut told: Value = serde_json::from_slice(&body.to_bytes()).ok()?;
    let pods = told["pods"].as_array_mut().map(std::mem::take).unwrap_or_default();
    Some(Told {
        node: told["node"].take(),
        pods: pods
            .into_iter()
            .map(|pod| (text(&pod, &["uid"]).to_owned(), pod))
            .collect(),
    })
}

fn of_node(call: &Call, node: &Value, told: &Value) -> Option<Value> {
    let mut metrics = begin(call, node, told)?;
    metrics["usage"] = usage(&told["usage"]);
    Some(metrics)
}

fn of_pod(call: &Call, pod: &Value, told: &Value) -> Option<Value> {
    let mut metrics = begin(call, pod, told)?;
    metrics["metadata"]["namespace"] = object::namespace(pod).into();
    let containers = told["containers"].as_array().into_iter().flatten();
    let containers =
        containers.map(|container| json!({"name": container["name"], "usage": usage(&container["usage"])}));
    metrics["containers"] = containers.collect();
    Some(metrics)
}

fn begin(call: &Call, of: &Value, told: &Value) -> Option<Value> {
    let at: Timestamp = told["timestamp"].as_str()?.parse().ok()?;
    let mut metadata = json!({"name": object::name(of), "creationTimestamp": meta::time::now()});
    if let Some(labels) = of["metadata"].get("labels") {
        metadata["labels"] = labels.clone();
    }
    Some(json!({
        "kind": call.kind.row.kind,
        "apiVersion": call.kind.api_version,
        "metadata": metadata,
        "timestamp": meta::time::format_seconds(at),
        "window": meta::duration::format(window(told["windowSeconds"].as_f64()?)),
    }))
}

/// To the millisecond.
fn window(seconds: f64) -> Duration {
    Duration::from_millis((seconds.max(0.0) * 1000.0).round() as u64)
}

fn usage(told: &Value) -> Value {
    let number = |name: &str| told[name].as_u64().unwrap_or(0);
    json!({
        "cpu": quantity(number("cpuNanocores"), 1000, &["n", "u", "m", ""]),
        "memory": quantity(number("memoryBytes"), 1024, &["", "Ki", "Mi", "Gi", "Ti"]),
    })
}

/// A number with the largest unit that leaves it whole.
fn quantity(mut number: u64, factor: u64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next();
    while number > 0 && number.is_multiple_of(factor) {
        let Some(larger) = units.next() else { break };
        number /= factor;
        unit = Some(larger);
    }
    match number {
        0 => "0".to_owned(),
        _ => format!("{number}{}", unit.copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_canonical() {
        let cpu = |n| quantity(n, 1000, &["n", "u", "m", ""]);
        for (nanocores, expected) in [
            (0, "0"),
            (1_234_567, "1234567n"),
            (5_000_000, "5m"),
            (2_000_000_000, "2"),
        ] {
            assert_eq!(cpu(nanocores), expected);
        }
        let told = json!({"cpuNanocores": 1500, "memoryBytes": 3 << 20});
        assert_eq!(usage(&told), json!({"cpu": "1500n", "memory": "3Mi"}));
    }
}
