//! LimitRanges and ResourceQuotas: how much of what a namespace may use.

use jiff::Timestamp;
use meta::{FieldError, Path, Quantity};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, form, metadata, resources, strategy};

/// The rules of `limitranges`.
pub(crate) struct LimitRange;
/// The rules of `resourcequotas`.
pub(crate) struct ResourceQuota;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

impl Rules for LimitRange {
    fn default(&self, object: &mut Value) {
        for limit in object.object("spec").each("limits") {
            if limit.text("type") == "Container" {
                let part = |limit: &Value, name: &str| limit.map(name).cloned().unwrap_or_default();
                let (max, min) = (part(limit, "max"), part(limit, "min"));
                resources::copy_missing(limit.object("default"), max);
                let default = part(limit, "default");
                resources::copy_missing(limit.object("defaultRequest"), default);
                resources::copy_missing(limit.object("defaultRequest"), min);
                for name in ["default", "defaultRequest"] {
                    if limit.map(name).is_some_and(serde_json::Map::is_empty) {
                        limit.drop(name);
                    }
                }
            }
            for name in LISTS {
                resources::round(limit.there(name));
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        let at = Path::new("spec.limits");
        let limits = object.at("spec").list("limits");
        for (index, limit) in limits.iter().enumerate() {
            let kind = limit.text("type");
            errors.form(&at.index(index).child("type"), kind, form::qualified_name);
            if limits[..index].iter().any(|earlier| earlier.text("type") == kind) {
                errors.duplicate(&at.index(index).child("type"), kind);
            }
            range(limit, &at.index(index), &mut errors);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate_create(object)
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

fn range(limit: &Value, at: &Path<'_>, errors: &mut Errors) {
    if limit.text("type") == "Pod" {
        for name in ["default", "defaultRequest"] {
            if limit.map(name).is_some_and(|list| !list.is_empty()) {
                errors.forbidden(&at.child(name), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    let storage = |name: &str| limit.at(name).has("storage");
    if limit.text("type") == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&at.child("limits"), detail);
    }
    let mut names: Vec<&String> = LISTS
        .iter()
        .filter_map(|list| limit.map(list))
        .flat_map(|map| map.keys())
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        consistent(limit, name, at, errors);
    }
}

/// The smallest, the default request, the default limit and the largest must come in this order.
fn consistent(limit: &Value, name: &str, at: &Path<'_>, errors: &mut Errors) {
    let amount = |list: &str| resources::quantity(limit.at(list), name);
    let said = |list: &str| resources::shown(limit.at(list), name);
    let orders = [
        ("min", "max", "min", "min value {} is greater than max value {}"),
        (
            "min",
            "defaultRequest",
            "defaultRequest",
            "min value {} is greater than default request value {}",
        ),
        (
            "defaultRequest",
            "max",
            "defaultRequest",
            "default request value {} is greater than max value {}",
        ),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "default request value {} is greater than default limit value {}",
        ),
        (
            "min",
            "default",
            "default",
            "min value {} is greater than default value {}",
        ),
        (
            "default",
            "max",
            "default",
            "default value {} is greater than max value {}",
        ),
    ];
    for (low, high, wrong, words) in orders {
        if let (Some(low_amount), Some(high_amount)) = (amount(low), amount(high))
            && low_amount > high_amount
        {
            let detail = words.replacen("{}", &said(low), 1).replacen("{}", &said(high), 1);
            // The value shown isn't always that of the field named.
            let shown = match (low, high) {
                ("min", "default") => said("min"),
                ("default", "max") => said("max"),
                _ => said(wrong),
            };
            errors.invalid(&at.child(wrong).key(name), shown, &detail);
        }
    }
    if let Some(ratio) = amount("maxLimitRequestRatio")
        && ratio < Quantity::from_millis(1000)
    {
        let shown = said("maxLimitRequestRatio");
        let detail = format!("ratio {shown} is less than 1");
        errors.invalid(&at.child("maxLimitRequestRatio").key(name), shown, &detail);
    }
}

impl Rules for ResourceQuota {
    fn default(&self, object: &mut Value) {
        resources::round(object.object("spec").there("hard"));
        let status = object.object("status");
        resources::round(status.there("hard"));
        resources::round(status.there("used"));
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::drop_status(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        hard(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        hard(object.at("spec"), &mut errors);
        let (scopes, before) = (object.at("spec").at("scopes"), old.at("spec").at("scopes"));
        if !same(scopes, before) {
            errors.invalid(&Path::new("spec.scopes"), scopes.clone(), super::check::IMMUTABLE);
        }
        errors.0
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Request", "What is requested, of how much."),
            text("Limit", "What limits add up to, of how much."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = object.at("status");
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for name in status.map("hard").into_iter().flatten().map(|(name, _)| name) {
            let used = resources::shown(status.at("used"), name);
            let shown = format!("{name}: {used}/{}", resources::shown(status.at("hard"), name));
            if name.starts_with("limits.") {
                limits.push(shown)
            } else {
                requests.push(shown)
            }
        }
        vec![
            column::name(object),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age::cell(object, now),
        ]
    }
}

const COUNTED: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

fn hard(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec.hard");
    for (name, value) in spec.map("hard").into_iter().flatten() {
        let at = at.key(name);
        let reasons = form::qualified_name(name);
        if !reasons.is_empty() {
            errors.invalid_each(&at, name, reasons);
        }
        let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
        if !name.contains('/') && !huge && !COUNTED.contains(&name.as_str()) {
            let standard = name == "storage";
            if !standard {
                errors.invalid(
                    &at,
                    name.as_str(),
                    "must be a standard resource type or fully qualified",
                );
            }
            errors.invalid(&at, name.as_str(), "must be a standard resource for quota");
        }
        let Some(amount) = resources::parse(value) else {
            continue;
        };
        if amount.is_negative() {
            errors.invalid(&at, value.clone(), "must be greater than or equal to 0");
        }
        let whole = name.contains('/')
            || matches!(
                name.as_str(),
                "pods" | "services" | "secrets" | "configmaps" | "persistentvolumeclaims"
            )
            || matches!(name.as_str(), "resourcequotas" | "replicationcontrollers")
            || name.starts_with("services.");
        if whole && amount.millis() % 1000 != 0 {
            errors.invalid(&at, value.clone(), "must be an integer");
        }
    }
    let scopes = Path::new("spec.scopes");
    let known = [
        "BestEffort",
        "CrossNamespacePodAffinity",
        "NotBestEffort",
        "NotTerminating",
        "PriorityClass",
        "Terminating",
    ];
    for scope in spec.list("scopes") {
        let text = scope.as_str().unwrap_or_default();
        if !known.contains(&text) && text != "VolumeAttributesClass" {
            errors.invalid(&scopes, spec.at("scopes").clone(), "unsupported scope");
        }
    }
}
