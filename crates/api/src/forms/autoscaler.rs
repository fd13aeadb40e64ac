//! HorizontalPodAutoscalers of `autoscaling/v2` in the form of `autoscaling/v1`, which knows one metric. What it has no
//! fields for stands in annotations, as JSON in its own types.

use serde_json::{Map, Value, json};

use crate::rules::view::{Edit as _, View as _};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// All annotations that stand for fields; the last two only ever stood in alpha versions.
const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];
/// What is aimed at when nothing is said.
const UTILIZATION: i64 = 80;

/// A metric's source, with its field's name.
const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];

/// In the form of `autoscaling/v1`.
pub(crate) fn to_v1(mut object: Value) -> Value {
    annotate(&mut object, &Map::new());
    let mut notes = Map::new();
    let spec = object.object("spec");
    let metrics = spec.drop("metrics").unwrap_or_default();
    let metrics = metrics.as_array().map_or(&[][..], Vec::as_slice);
    let is_cpu = |metric: &&Value| cpu_share(metric, "target").is_some();
    if let Some(share) = metrics
        .iter()
        .find(is_cpu)
        .and_then(|metric| cpu_share(metric, "target"))
    {
        spec.set("targetCPUUtilizationPercentage", share);
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| !is_cpu(metric))
        .map(source_to_v1)
        .collect();
    if !others.is_empty() {
        note(&mut notes, METRICS, &others);
    }
    if let Some(behavior) = spec.drop("behavior").filter(|behavior| !behavior.is_null()) {
        note(&mut notes, BEHAVIOR, &internal_behavior(&behavior));
    }
    if let Some(status) = object.there("status") {
        let current = status.drop("currentMetrics").unwrap_or_default();
        let current = current.as_array().map_or(&[][..], Vec::as_slice);
        if let Some(share) = current
            .iter()
            .filter_map(|metric| cpu_share(metric, "current"))
            .next_back()
        {
            status.set("currentCPUUtilizationPercentage", share);
        }
        if !current.is_empty() {
            let current: Vec<Value> = current.iter().map(status_to_v1).collect();
            note(&mut notes, CURRENT_METRICS, &current);
        }
        let conditions = status
            .drop("conditions")
            .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
        if let Some(conditions) = conditions {
            note(&mut notes, CONDITIONS, &conditions);
        }
        // This version always has it.
        status.or("currentReplicas", 0);
        status.or("desiredReplicas", 0);
    }
    annotate(&mut object, &notes);
    if object.has("apiVersion") {
        object.set("apiVersion", "autoscaling/v1");
    }
    object
}

/// In the form of `autoscaling/v2`.
pub(crate) fn to_v2(mut object: Value) -> Value {
    let notes = object.at("metadata").at("annotations").clone();
    let read = |name: &str| serde_json::from_str::<Value>(notes.text(name)).ok();
    let list = |name: &str| read(name).and_then(|value| value.as_array().cloned());
    annotate(&mut object, &Map::new());
    let spec = object.object("spec");
    let mut metrics: Vec<Value> = list(METRICS)
        .into_iter()
        .flatten()
        .map(|metric| source_to_v2(&metric))
        .collect();
    if let Some(share) = spec
        .drop("targetCPUUtilizationPercentage")
        .filter(|share| !share.is_null())
    {
        metrics.push(cpu(
            "target",
            json!({"type": "Utilization", "averageUtilization": share}),
        ));
    }
    if metrics.is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": UTILIZATION});
        metrics.push(cpu("target", target));
    }
    spec.set("metrics", metrics);
    if let Some(behavior) = read(BEHAVIOR).filter(|behavior| behavior.as_object().is_some_and(|has| !has.is_empty())) {
        spec.set("behavior", external_behavior(&behavior));
    }
    if let Some(status) = object.there("status") {
        if status.int("currentReplicas") == Some(0) {
            status.drop("currentReplicas");
        }
        let share = status
            .drop("currentCPUUtilizationPercentage")
            .filter(|share| !share.is_null());
        if let Some(current) = list(CURRENT_METRICS) {
            let current: Vec<Value> = current.iter().map(status_to_v2).collect();
            status.set("currentMetrics", current);
        } else if let Some(share) = share {
            status.set(
                "currentMetrics",
                vec![cpu("current", json!({"averageUtilization": share}))],
            );
        }
        if let Some(conditions) = list(CONDITIONS) {
            status.set("conditions", conditions);
        }
    }
    if object.has("apiVersion") {
        object.set("apiVersion", "autoscaling/v2");
    }
    object
}

/// Takes the annotations that stand for fields away, and puts these there.
fn annotate(object: &mut Value, notes: &Map<String, Value>) {
    let metadata = object.object("metadata");
    if notes.is_empty() && !metadata.has("annotations") {
        return;
    }
    let annotations = metadata.object("annotations");
    for name in ANNOTATIONS {
        annotations.drop(name);
    }
    for (name, value) in notes {
        annotations.set(name, value.clone());
    }
    if annotations.as_object().is_some_and(Map::is_empty) {
        metadata.drop("annotations");
    }
}

fn note(notes: &mut Map<String, Value>, name: &str, value: &impl serde::Serialize) {
    // Trees of JSON can always be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    notes.insert(name.to_owned(), text.into());
}

/// How much of the processors' time is aimed at or used, when that is what a metric says.
fn cpu_share(metric: &Value, part: &str) -> Option<i64> {
    let resource = metric.at("resource");
    let is_cpu = metric.text("type") == "Resource" && resource.text("name") == "cpu";
    is_cpu.then(|| resource.at(part).int("averageUtilization")).flatten()
}

fn cpu(part: &str, value: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", part: value}})
}

/// The names of amounts in a source: of the amount itself, of the average, of the share.
fn amounts(source: &str, part: &str) -> [String; 3] {
    let head = if part == "target" { "target" } else { "current" };
    match source {
        "object" => [format!("{head}Value"), "averageValue".to_owned(), String::new()],
        _ => [
            format!("{head}Value"),
            format!("{head}AverageValue"),
            format!("{head}AverageUtilization"),
        ],
    }
}

fn source_to_v1(metric: &Value) -> Value {
    to_old(metric, "target")
}

fn status_to_v1(metric: &Value) -> Value {
    to_old(metric, "current")
}

fn to_old(metric: &Value, part: &str) -> Value {
    let mut old = json!({"type": metric.text("type")});
    for source in SOURCES.into_iter().filter(|source| metric.has(source)) {
        let (from, mut to) = (metric.at(source), Value::Object(Map::new()));
        for name in ["name", "container"].into_iter().filter(|name| from.has(name)) {
            to.take_from(name, from);
        }
        if from.has("describedObject") {
            to.set("target", from.at("describedObject").clone());
        }
        if from.has("metric") {
            to.set("metricName", from.at("metric").text("name"));
            let selector = if source == "external" {
                "metricSelector"
            } else {
                "selector"
            };
            if from.at("metric").has("selector") {
                to.set(selector, from.at("metric").at("selector").clone());
            }
        }
        let values = from.at(part);
        for (new, name) in ["value", "averageValue", "averageUtilization"]
            .into_iter()
            .zip(amounts(source, part))
        {
            if values.has(new) {
                to.set(&name, values.at(new).clone());
            }
        }
        for name in always(source, part) {
            to.or(name, "0");
        }
        old.set(source, to);
    }
    old
}

/// The amounts that Go writes even when there are none.
fn always(source: &str, part: &str) -> &'static [&'static str] {
    match (source, part) {
        ("object", "target") => &["targetValue"],
        ("pods", "target") => &["targetAverageValue"],
        ("object" | "external", "current") => &["currentValue"],
        ("pods" | "resource" | "containerResource", "current") => &["currentAverageValue"],
        _ => &[],
    }
}

fn source_to_v2(metric: &Value) -> Value {
    to_new(metric, "target")
}

fn status_to_v2(metric: &Value) -> Value {
    to_new(metric, "current")
}

fn to_new(metric: &Value, part: &str) -> Value {
    let mut new = json!({"type": metric.text("type")});
    for source in SOURCES.into_iter().filter(|source| metric.has(source)) {
        let (from, mut to) = (metric.at(source), Value::Object(Map::new()));
        for name in ["name", "container"].into_iter().filter(|name| from.has(name)) {
            to.take_from(name, from);
        }
        if from.has("target") {
            to.set("describedObject", from.at("target").clone());
        }
        if from.has("metricName") {
            let mut identifier = json!({"name": from.text("metricName")});
            let selector = if source == "external" {
                "metricSelector"
            } else {
                "selector"
            };
            if from.has(selector) {
                identifier.set("selector", from.at(selector).clone());
            }
            to.set("metric", identifier);
        }
        let mut values = Value::Object(Map::new());
        for (name, old) in ["value", "averageValue", "averageUtilization"]
            .into_iter()
            .zip(amounts(source, part))
        {
            if from.has(&old) {
                values.set(name, from.at(&old).clone());
            }
        }
        if part == "target" {
            // An average is no value, though the older version always has one.
            if source == "object" && values.has("averageValue") && values.text("value") == "0" {
                values.drop("value");
            }
            let kind = match source {
                "resource" | "containerResource" if values.has("averageUtilization") => "Utilization",
                "object" if !values.has("averageValue") => "Value",
                "external" if values.has("value") => "Value",
                _ => "AverageValue",
            };
            values.set("type", kind);
        }
        to.set(part, values);
        new.set(source, to);
    }
    new
}

/// The names that a behaviour's fields have in its annotation: those of Kubernetes' internal type, which has no others.
const INTERNAL: [(&str, &str); 9] = [
    ("scaleUp", "ScaleUp"),
    ("scaleDown", "ScaleDown"),
    ("stabilizationWindowSeconds", "StabilizationWindowSeconds"),
    ("selectPolicy", "SelectPolicy"),
    ("policies", "Policies"),
    ("tolerance", "Tolerance"),
    ("type", "Type"),
    ("value", "Value"),
    ("periodSeconds", "PeriodSeconds"),
];

fn internal_behavior(behavior: &Value) -> Value {
    renamed(behavior, |name| {
        let known = INTERNAL.iter().find(|(external, _)| *external == name);
        known.map(|(_, internal)| *internal)
    })
}

/// Reads any case, as Go does.
fn external_behavior(behavior: &Value) -> Value {
    renamed(behavior, |name| {
        let known = INTERNAL
            .iter()
            .find(|(external, _)| external.eq_ignore_ascii_case(name));
        known.map(|(external, _)| *external)
    })
}

fn renamed(value: &Value, name: fn(&str) -> Option<&'static str>) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let named = fields.filter_map(|(old, value)| Some((name(old)?.to_owned(), renamed(value, name))));
            Value::Object(named.collect())
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, name)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_older_version_lacks_stands_in_annotations_and_comes_back() {
        let object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "annotations": {"mine": "kept"}},
            "spec": {
                "maxReplicas": 3, "minReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "Value", "value": "7"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i"},
                        "metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "2"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                        "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 50}}},
                ],
                "behavior": {"scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            },
            "status": {"currentReplicas": 1, "desiredReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 30, "averageValue": "100m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}]},
        });
        let old = to_v1(object.clone());
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(old["status"]["currentCPUUtilizationPercentage"], 30);
        let metrics: Value = serde_json::from_str(old["metadata"]["annotations"][METRICS].as_str().unwrap()).unwrap();
        assert_eq!(
            metrics[0],
            json!({"type": "External", "external": {"metricName": "q", "targetValue": "7",
                "metricSelector": {"matchLabels": {"a": "b"}}}})
        );
        assert_eq!(metrics[1]["object"]["targetValue"], "0");
        assert_eq!(to_v2(old), object);
    }

    #[test]
    fn an_object_that_says_nothing_aims_at_eighty_percent() {
        let new = to_v2(json!({"metadata": {"name": "web"}, "spec": {"maxReplicas": 3}}));
        assert_eq!(cpu_share(&new["spec"]["metrics"][0], "target"), Some(80));
        assert_eq!(to_v1(new)["spec"]["targetCPUUtilizationPercentage"], 80);
    }
}
