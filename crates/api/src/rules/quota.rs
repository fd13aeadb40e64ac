//! LimitRanges and ResourceQuotas: how much of what a namespace may use.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meta::{FieldError, Path, Quantity};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
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
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        let set = |quota: &Value| -> BTreeSet<String> {
            let scopes = quota.at("spec").list("scopes").iter();
            scopes.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if set(object) != set(old) {
            let scopes = object.at("spec").at("scopes").clone();
            errors.invalid(&Path::new("spec.scopes"), scopes, super::check::IMMUTABLE);
        }
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        for list in ["hard", "used"] {
            amounts(
                &Path::new("status").child(list),
                object.at("status").at(list),
                &mut errors,
            );
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

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

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

fn spec(spec: &Value, errors: &mut Errors) {
    amounts(&Path::new("spec.hard"), spec.at("hard"), errors);
    let (scopes, at) = (spec.at("scopes"), Path::new("spec.scopes"));
    let names: Vec<&str> = spec.list("scopes").iter().filter_map(Value::as_str).collect();
    for scope in &names {
        if !SCOPES.contains(scope) {
            errors.invalid(&at, scopes.clone(), "unsupported scope");
        }
        for _ in unfit(spec, scope) {
            errors.invalid(&at, scopes.clone(), "unsupported scope applied to resource");
        }
    }
    conflicting(&at, scopes, &names, errors);
    scope_selector(spec, errors);
}

/// Which objects it is about, in expressions.
fn scope_selector(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec.scopeSelector.matchExpressions");
    let selector = spec.at("scopeSelector");
    let expressions = selector.list("matchExpressions");
    for one in expressions {
        let (scope, operator, values) = (one.text("scopeName"), one.text("operator"), one.list("values"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        for _ in unfit(spec, scope) {
            errors.invalid(&at, selector.clone(), "unsupported scope applied to resource");
        }
        let plain = SCOPES.contains(&scope) && !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if plain && operator != "Exists" {
            errors.invalid(
                &at.child("operator"),
                operator,
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                 ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &at.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &at.child("values"),
                one.at("values").clone(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
    }
    let names: Vec<&str> = expressions.iter().map(|one| one.text("scopeName")).collect();
    conflicting(&at, spec.at("scopes"), &names, errors);
}

fn conflicting(at: &Path<'_>, shown: &Value, names: &[&str], errors: &mut Errors) {
    for pair in [["BestEffort", "NotBestEffort"], ["NotTerminating", "Terminating"]] {
        if pair.iter().all(|scope| names.contains(scope)) {
            errors.invalid(at, shown.clone(), "conflicting scopes");
        }
    }
}

/// The limits that mean nothing within a scope.
fn unfit<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a str> {
    let fits = move |name: &str| match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ if SCOPES.contains(&scope) => matches!(
            name,
            "pods" | "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
        ),
        _ => true,
    };
    let names = spec.map("hard").into_iter().flatten().map(|(name, _)| name.as_str());
    names.filter(move |name| is_standard(name) && !fits(name))
}

fn is_standard(name: &str) -> bool {
    COUNTED.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

fn amounts(at: &Path<'_>, list: &Value, errors: &mut Errors) {
    for (name, value) in list.as_object().into_iter().flatten() {
        let at = at.key(name);
        let reasons = form::qualified_name(name);
        if !reasons.is_empty() {
            errors.invalid_each(&at, name, reasons);
        }
        if !name.contains('/') && !is_standard(name) {
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
        let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
        let whole = extended
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
}
