//! PriorityClasses and RuntimeClasses: what a pod's spec refers to by name.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, boolean, integer, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, pod, strategy};

/// The rules of `scheduling.k8s.io` `priorityclasses`.
pub(crate) struct PriorityClass;
/// The rules of `node.k8s.io` `runtimeclasses`.
pub(crate) struct RuntimeClass;

const HIGHEST: i64 = 1_000_000_000;

impl Rules for PriorityClass {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.or("preemptionPolicy", "PreemptLowerPriority");
        object.or("value", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        object.object("metadata").take_from("generation", old.at("metadata"));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let (name, value) = (object.at("metadata").text("name"), object.int("value").unwrap_or(0));
        if name.starts_with("system-") {
            reserved(name, value, object.is("globalDefault"), &mut errors);
        } else if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(&Path::new("value"), &detail);
        }
        match object.text("preemptionPolicy") {
            "" => errors.required(&Path::new("preemptionPolicy"), ""),
            policy => {
                errors.one_of(
                    &Path::new("preemptionPolicy"),
                    policy,
                    &["PreemptLowerPriority", "Never"],
                );
            }
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        if object.int("value").unwrap_or(0) != old.int("value").unwrap_or(0) {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        let at = Path::new("preemptionPolicy");
        errors.immutable(&at, object.at("preemptionPolicy"), old.at("preemptionPolicy"));
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            integer("Value", "The priority of the pods of the class."),
            boolean("Global-Default", "Whether pods without a class get this one."),
            age::AGE,
            text("PreemptionPolicy", "Whether pods of the class push others out."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            column::number(object, "value"),
            object.is("globalDefault").into(),
            age::cell(object, now),
            object.text("preemptionPolicy").into(),
        ]
    }
}

/// Names with `system-` are Kubernetes' own, with the values that it gave them.
fn reserved(name: &str, value: i64, default: bool, errors: &mut Errors) {
    let known = [
        ("system-cluster-critical", 2_000_000_000),
        ("system-node-critical", 2_000_001_000),
    ];
    let reason = match known.iter().find(|(known, _)| *known == name) {
        None => format!("{name} is not a known system priority class"),
        Some((_, wanted)) if *wanted != value => format!("value of {name} PriorityClass must be {wanted}"),
        Some(_) if default => format!("globalDefault of {name} PriorityClass must be false"),
        Some(_) => return,
    };
    let detail =
        format!("priority class names with 'system-' prefix are reserved for system use only. error: {reason}");
    errors.forbidden(&Path::new("metadata.name"), &detail);
}

impl Rules for RuntimeClass {
    fn namespaced(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        errors.required_form(&Path::new("handler"), object.text("handler"), form::dns_label);
        let limits = json!({ "limits": object.at("overhead").at("podFixed") });
        pod::requirements(&limits, &Path::new("overhead"), &mut errors);
        let scheduling = Path::new("scheduling");
        let rules = object.at("scheduling");
        errors.labels(&scheduling.child("nodeSelector"), rules.at("nodeSelector"));
        let (at, tolerations) = (scheduling.child("tolerations"), rules.list("tolerations"));
        pod::tolerations(tolerations, &at, &mut errors);
        let same_key = |a: &Value, b: &Value| {
            let fields = ["key", "operator", "value", "effect"];
            fields.iter().all(|name| a.text(name) == b.text(name))
        };
        for (index, toleration) in tolerations.iter().enumerate() {
            if tolerations[..index].iter().any(|earlier| same_key(earlier, toleration)) {
                errors.duplicate(&at.index(index), toleration.clone());
            }
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        errors.fixed(&Path::new("handler"), object.at("handler"), old.at("handler"));
        errors.0
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("Handler", "The runtime that runs the pods."), age::AGE];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.text("handler").into(),
            age::cell(object, now),
        ]
    }
}
