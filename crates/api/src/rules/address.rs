//! IPAddresses and ServiceCIDRs: where cluster addresses come from, and whose each is.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text, texts};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata, strategy};

/// The rules of `networking.k8s.io` `ipaddresses`.
pub(crate) struct IpAddress;
/// The rules of `networking.k8s.io` `servicecidrs`.
pub(crate) struct ServiceCidr;

fn address(name: &str, _prefix: bool) -> Vec<String> {
    form::ip(name)
}

impl Rules for IpAddress {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, address, &mut errors);
        let at = Path::new("spec.parentRef");
        let parent = object.at("spec").at("parentRef");
        if parent.is_null() {
            errors.required(&at, "");
            return errors.0;
        }
        if !parent.lacks("group") {
            errors.form(&at.child("group"), parent.text("group"), form::dns_subdomain);
        }
        for name in ["resource", "name"] {
            errors.required_form(&at.child(name), parent.text(name), form::path_segment);
        }
        if !parent.lacks("namespace") {
            errors.form(&at.child("namespace"), parent.text("namespace"), form::path_segment);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        let at = Path::new("spec.parentRef");
        errors.immutable(&at, object.at("spec").at("parentRef"), old.at("spec").at("parentRef"));
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("ParentRef", "The object that has the address.")];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let parent = object.at("spec").at("parentRef");
        let mut shown = "<none>".to_owned();
        if !parent.is_null() {
            shown = parent.text("resource").to_lowercase();
            if !parent.lacks("group") {
                shown = format!("{shown}.{}", parent.text("group"));
            }
            for name in ["namespace", "name"] {
                if name == "name" || !parent.lacks(name) {
                    shown = format!("{shown}/{}", parent.text(name));
                }
            }
        }
        // The age is a cell without a column, as every client knows it.
        vec![column::name(object), shown.into(), age::cell(object, now)]
    }
}

impl Rules for ServiceCidr {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec");
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set("status", json!({}));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        strategy::keep_metadata(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let at = Path::new("spec.cidrs");
        let cidrs = object.at("spec").list("cidrs");
        if cidrs.is_empty() {
            errors.required(&at, "at least one CIDR required");
        }
        if cidrs.len() > 2 {
            errors.invalid(&at, object.at("spec").clone(), "may only hold up to 2 values");
        }
        for (index, cidr) in cidrs.iter().enumerate() {
            errors.form(&at.index(index), cidr.as_str().unwrap_or_default(), form::cidr);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("spec.cidrs");
        let (now, before) = (object.at("spec").list("cidrs"), old.at("spec").list("cidrs"));
        for (index, (now, before)) in now.iter().zip(before).enumerate() {
            errors.immutable(&at.index(index), now, before);
        }
        if now.len() < before.len() {
            errors.invalid(&at, object.at("spec").at("cidrs").clone(), super::check::IMMUTABLE);
        }
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("CIDRs", "The ranges of addresses."), age::AGE];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cidrs = texts(object.at("spec").list("cidrs"), ",");
        vec![column::name(object), cidrs.into(), age::cell(object, now)]
    }
}
