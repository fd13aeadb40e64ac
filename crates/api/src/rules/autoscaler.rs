//! HorizontalPodAutoscalers, in the shapes of `autoscaling/v2` and of `autoscaling/v1`.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, resources, strategy, workload};
use crate::forms::autoscaler;

/// The rules of `autoscaling` `horizontalpodautoscalers`.
pub(crate) struct HorizontalPodAutoscaler;
/// The same in the form of `autoscaling/v1`: all is decided in that of `autoscaling/v2`.
pub(crate) struct OldHorizontalPodAutoscaler;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Reference", "What is scaled."),
    text("Targets", "What is measured, and what it should be."),
    text("MinPods", "How few pods there may be."),
    text("MaxPods", "How many pods there may be."),
    text("Replicas", "How many pods there are."),
    age::AGE,
];

impl Rules for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or("minReplicas", 1);
        let is_v1 = spec.has("targetCPUUtilizationPercentage");
        if !is_v1 && spec.list("metrics").is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.set(
                "metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
        if let Some(behavior) = spec.there("behavior") {
            let up = json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]);
            scaling(behavior.object("scaleUp"), up, Some(0));
            scaling(
                behavior.object("scaleDown"),
                json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
                None,
            );
        }
        let status = object.object("status");
        if is_v1 {
            status.or("currentReplicas", 0);
        }
        status.or("desiredReplicas", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
        self.default(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        workload::status(object, old, &["currentReplicas", "desiredReplicas"], &[])
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let target = spec.at("scaleTargetRef");
        let least = spec
            .int("minReplicas")
            .map_or_else(|| "<unset>".to_owned(), |number| number.to_string());
        vec![
            column::name(object),
            format!("{}/{}", target.text("kind"), target.text("name")).into(),
            metrics(spec.list("metrics"), status.list("currentMetrics")).into(),
            least.into(),
            column::number(spec, "maxReplicas"),
            column::number(status, "currentReplicas"),
            age::cell(object, now),
        ]
    }
}

impl Rules for OldHorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        object.object("spec").or("minReplicas", 1);
        object.object("status");
        as_new(object, |object| HorizontalPodAutoscaler.default(object));
    }

    fn prepare_create(&self, object: &mut Value) {
        as_new(object, |object| HorizontalPodAutoscaler.prepare_create(object));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        let old = inward(old);
        as_new(object, |object| HorizontalPodAutoscaler.prepare_update(object, &old));
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        let old = inward(old);
        as_new(object, |object| HorizontalPodAutoscaler.prepare_status(object, &old));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        HorizontalPodAutoscaler.validate_create(&inward(object))
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        HorizontalPodAutoscaler.validate_update(&inward(object), &inward(old))
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        HorizontalPodAutoscaler.validate_status(&inward(object), &inward(old))
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        HorizontalPodAutoscaler.cells(&inward(object), now)
    }
}

fn inward(object: &Value) -> Value {
    autoscaler::to_v2(object.clone())
}

/// Does something to the object in the newer form.
fn as_new(object: &mut Value, change: impl FnOnce(&mut Value)) {
    let mut new = autoscaler::to_v2(std::mem::take(object));
    change(&mut new);
    *object = autoscaler::to_v1(new);
}

fn scaling(rules: &mut Value, policies: Value, window: Option<i64>) {
    rules.or("selectPolicy", "Max");
    rules.or("policies", policies);
    if let Some(window) = window {
        rules.or("stabilizationWindowSeconds", window);
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let least = spec.int("minReplicas");
    if let Some(least) = least
        && least < 0
    {
        errors.invalid(&at.child("minReplicas"), least, "must be greater than or equal to 0");
    }
    let most = spec.int("maxReplicas").unwrap_or(0);
    if most == 0 {
        errors.required(&at.child("maxReplicas"), "");
    } else if most < 0 {
        errors.invalid(&at.child("maxReplicas"), most, "must be greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        errors.invalid(
            &at.child("maxReplicas"),
            most,
            "must be greater than or equal to `minReplicas`",
        );
    }
    let (target, at_target) = (spec.at("scaleTargetRef"), at.child("scaleTargetRef"));
    for name in ["kind", "name"] {
        errors.required_form(&at_target.child(name), target.text(name), form::path_segment);
    }
    if !target.text("apiVersion").contains('/') && target.text("apiVersion") != "v1" {
        let shown = target.text("apiVersion");
        errors.invalid(
            &at_target.child("apiVersion"),
            shown,
            "apiVersion must specify API group",
        );
    }
    let at_metrics = at.child("metrics");
    let metrics = spec.list("metrics");
    for (index, metric) in metrics.iter().enumerate() {
        let at = at_metrics.index(index);
        let known = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        match metric.text("type") {
            "" => errors.required(&at.child("type"), "must specify a metric source type"),
            kind => errors.one_of(&at.child("type"), kind, &known),
        }
    }
    let scales_to_zero = |metric: &Value| matches!(metric.text("type"), "Object" | "External");
    if least == Some(0) && !metrics.iter().any(scales_to_zero) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&at_metrics, detail);
    }
}

fn metrics(specs: &[Value], states: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let each = specs.iter().enumerate().map(|(index, spec)| {
        let state = states.get(index).unwrap_or(&Value::Null);
        metric(spec, state)
    });
    let list: Vec<String> = each.collect();
    if list.len() > 2 {
        return format!("{} + {} more...", list[..2].join(", "), list.len() - 2);
    }
    list.join(", ")
}

fn metric(spec: &Value, state: &Value) -> String {
    let (field, resource) = match spec.text("type") {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let target = spec.at(field).at("target");
    let current = state.at(field).at("current");
    let amount = |of: &Value, name: &str| of.has(name).then(|| resources::shown(of, name));
    let unknown = || "<unknown>".to_owned();
    if resource {
        let name = spec.at(field).text("name");
        if let Some(wanted) = amount(target, "averageValue") {
            let now = amount(current, "averageValue").unwrap_or_else(unknown);
            return format!("{name}: {now}/{wanted}");
        }
        let percent = |of: &Value| of.int("averageUtilization").map(|share| format!("{share}%"));
        let wanted = percent(target).unwrap_or_else(|| "<auto>".to_owned());
        return format!("{name}: {}/{wanted}", percent(current).unwrap_or_else(unknown));
    }
    match amount(target, "averageValue") {
        Some(wanted) => {
            let now = amount(current, "averageValue").unwrap_or_else(unknown);
            let suffix = if field == "pods" { "" } else { " (avg)" };
            format!("{now}/{wanted}{suffix}")
        }
        None => {
            let now = amount(current, "value").unwrap_or_else(unknown);
            format!("{now}/{}", resources::shown(target, "value"))
        }
    }
}
