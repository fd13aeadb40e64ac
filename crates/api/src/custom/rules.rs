//! The rules of custom resources: one implementation for all of them, along what each definition says.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use meta::{FieldError, FieldErrorType};
use serde_json::Value;

use super::{Custom, columns, lists, validate};
use crate::rules::check::Errors;
use crate::rules::view::{Edit as _, View as _, same};
use crate::rules::{Rules, metadata, strategy};

const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing \
                         errors to complete validation";

pub(super) struct OfCustom(pub(super) Arc<Custom>);

impl Rules for OfCustom {
    fn namespaced(&self) -> bool {
        self.0.namespaced
    }

    fn default(&self, object: &mut Value) {
        self.0.default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        if self.0.has_status {
            object.drop("status");
        }
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        if self.0.has_status {
            object.take_from("status", old);
        }
        let before = old.at("metadata").int("generation").unwrap_or(0);
        let changed = !same_content(object, old);
        strategy::set_generation(object, before + i64::from(changed));
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        let status = object.drop("status");
        let owners = object.at("metadata").get("managedFields").cloned();
        *object = old.clone();
        match status {
            Some(status) => object.set("status", status),
            None => {
                object.drop("status");
            }
        }
        match owners {
            Some(owners) => object.object("metadata").set("managedFields", owners),
            None => {
                object.object("metadata").drop("managedFields");
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let at = meta::Path::new("metadata");
        let metadata = object.at("metadata");
        metadata::plain_template(metadata, self.0.namespaced, metadata::subdomain, &at, &mut errors);
        errors.0.extend(validate::validate(&self.0.root, object, None, ""));
        self.scale(object, true, &mut errors);
        errors.0.extend(lists::embedded(&self.0.root, object));
        errors.0.extend(lists::duplicates(&self.0.root, object, ""));
        self.expressions(object, None, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::plain_update(object, old, &mut errors);
        errors.0.extend(validate::validate(&self.0.root, object, Some(old), ""));
        self.scale(object, true, &mut errors);
        errors.0.extend(lists::embedded(&self.0.root, object));
        self.new_duplicates(object, old, &mut errors);
        self.expressions(object, Some(old), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::plain_update(object, old, &mut errors);
        if let (Some(node), Some(status)) = (self.0.root.properties.get("status"), object.get("status")) {
            let old = old.get("status");
            errors.0.extend(validate::validate(node, status, old, "status"));
        }
        self.scale(object, false, &mut errors);
        self.new_duplicates(object, old, &mut errors);
        self.expressions(object, Some(old), &mut errors);
        errors.0
    }

    fn is_selectable(&self, field: &str) -> bool {
        self.selectable().contains(&field) || self.0.selectable.iter().any(|(name, _)| name == field)
    }

    fn projected(&self, object: &Value) -> Vec<(Cow<'static, str>, String)> {
        let usual = self.selectable_fields(object).into_iter();
        let own = self.0.selectable.iter().map(|(name, path)| {
            let found = path.find(object).first().map(|value| columns::text(value));
            (Cow::Owned(name.clone()), found.unwrap_or_default())
        });
        usual
            .map(|(name, value)| (Cow::Borrowed(name), value))
            .chain(own)
            .collect()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn column_heads(&self) -> Vec<Value> {
        columns::heads(&self.0.columns)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        columns::cells(&self.0.columns, object, now)
    }
}

impl OfCustom {
    fn new_duplicates(&self, object: &Value, old: &Value, errors: &mut Errors) {
        if lists::duplicates(&self.0.root, old, "").is_empty() {
            errors.0.extend(lists::duplicates(&self.0.root, object, ""));
        }
    }

    /// The rules in CEL, once the rest is good enough to ask them.
    fn expressions(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        use FieldErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        let Some(expressions) = self.0.expressions() else {
            return;
        };
        let blocks =
            |error: &FieldError| matches!(error.error, NotSupported | Required | TooLong | TooMany | TypeInvalid);
        if errors.0.iter().any(blocks) {
            errors.0.push(FieldError::invalid("<nil>", Value::Null, UNCHECKED));
        } else {
            errors.0.extend(expressions.check(object, old));
        }
    }

    /// The numbers that the scale shows must be some.
    fn scale(&self, object: &Value, with_spec: bool, errors: &mut Errors) {
        let Some(scale) = &self.0.scale else { return };
        let spec = with_spec.then_some(scale.spec_replicas.as_str());
        for path in spec.into_iter().chain([scale.status_replicas.as_str()]) {
            let found = at(object, path);
            let at = meta::Path::new(path);
            match found.as_i64() {
                _ if found.is_null() => {}
                Some(number) if number < 0 => errors.invalid(&at, number, "should be a non-negative integer"),
                Some(number) if number > i64::from(i32::MAX) => {
                    let why = format!("should be less than or equal to {}", i32::MAX);
                    errors.invalid(&at, number, &why);
                }
                Some(_) => {}
                None => {
                    let why = format!(
                        "{path} accessor error: {found} is of the type {}, expected int64",
                        go_type(found)
                    );
                    errors.invalid(&at, 0, &why);
                }
            }
        }
    }
}

/// The value at a path of names.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    let names = path.trim_start_matches('.').split('.');
    names.fold(object, |value, name| value.at(name))
}

/// Whether nothing but the metadata differs.
fn same_content(a: &Value, b: &Value) -> bool {
    let (Some(x), Some(y)) = (a.as_object(), b.as_object()) else {
        return same(a, b);
    };
    let content = |name: &&String| *name != "metadata";
    x.keys()
        .chain(y.keys())
        .filter(content)
        .all(|name| same(a.at(name), b.at(name)))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
