//! APIServices: who serves a version of a group. Those without a service are served by this server itself.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, base64, form, metadata, strategy};

/// The rules of `apiregistration.k8s.io` `apiservices`.
pub(crate) struct ApiService;

impl Rules for ApiService {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        if let Some(service) = object.object("spec").there("service") {
            service.or("port", 443);
        }
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::drop_status(object);
        if !object.at("spec").has("service") {
            let available = json!({
                "type": "Available", "status": "True", "lastTransitionTime": meta::time::now(),
                "reason": "Local", "message": "Local APIServices are always available",
            });
            object.object("status").set("conditions", vec![available]);
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        let metadata = object.object("metadata");
        for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
            metadata.take_from(name, old.at("metadata"));
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let at = Path::new("metadata");
        metadata::plain_template(object.at("metadata"), false, metadata::segment, &at, &mut errors);
        spec(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::plain_update(object, old, &mut errors);
        spec(object, &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::plain_update(object, old, &mut errors);
        let at = Path::new("status.conditions");
        for (index, condition) in object.at("status").list("conditions").iter().enumerate() {
            let at = at.index(index);
            let status = condition.text("status");
            errors.one_of(&at.child("status"), status, &["True", "False", "Unknown"]);
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Service", "The service that serves it, Local for this server."),
            text("Available", "Whether it can be used."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let service = object.at("spec").at("service");
        let service = match service.is_null() {
            true => "Local".to_owned(),
            false => format!("{}/{}", service.text("namespace"), service.text("name")),
        };
        let mut conditions = object.at("status").list("conditions").iter();
        let available = conditions.find(|condition| condition.text("type") == "Available");
        let available = match available.map(|found| (found.text("status"), found.text("reason"))) {
            None => "Unknown".to_owned(),
            Some((status, reason)) if status == "True" || reason.is_empty() => status.to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
        };
        vec![
            column::name(object),
            service.into(),
            available.into(),
            age::cell(object, now),
        ]
    }
}

fn spec(object: &Value, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let (group, version) = (spec.text("group"), spec.text("version"));
    let (name, wanted) = (object.at("metadata").text("name"), format!("{version}.{group}"));
    if name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.invalid(&Path::new("metadata.name"), name, &detail);
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.required(&at.child("group"), detail);
    }
    if !group.is_empty() {
        errors.form(&at.child("group"), group, form::dns_subdomain);
    }
    errors.form(&at.child("version"), version, form::dns1035_label);
    for (name, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let priority = spec.int(name).unwrap_or(0);
        if !(1..=most).contains(&priority) {
            let detail = format!("must be positive and less than {most}");
            errors.invalid(&at.child(name), priority, &detail);
        }
    }
    let (bundle, insecure) = (spec.text("caBundle"), spec.is("insecureSkipTLSVerify"));
    let at_insecure = at.child("insecureSkipTLSVerify");
    if !spec.has("service") {
        if !bundle.is_empty() {
            let size = format!("{} bytes", base64::decoded_len(bundle));
            errors.invalid(&at.child("caBundle"), size, "local APIServices may not have a caBundle");
        }
        if insecure {
            errors.invalid(
                &at_insecure,
                true,
                "local APIServices may not have insecureSkipTLSVerify",
            );
        }
        return;
    }
    let (service, at_service) = (spec.at("service"), at.child("service"));
    for name in ["namespace", "name"] {
        if service.lacks(name) {
            errors.required(&at_service.child(name), "");
        }
    }
    let port = service.int("port").unwrap_or(0);
    if !(1..=65_535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&at_service.child("port"), port, detail);
    }
    if insecure && !bundle.is_empty() {
        errors.invalid(&at_insecure, true, "may not be true if caBundle is present");
    }
}
