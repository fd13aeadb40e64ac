//! ServiceAccounts.

use jiff::Timestamp;
use meta::FieldError;
use serde_json::Value;

use super::check::Errors;
use super::column;
use super::{Column, Rules, age, metadata};

/// The rules of `serviceaccounts`.
pub(crate) struct ServiceAccount;

impl Rules for ServiceAccount {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = metadata::check_update(object, old);
        errors.extend(self.validate_create(object));
        errors
    }

    fn columns(&self) -> &'static [Column] {
        age::NAME_AND_AGE
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![column::name(object), age::cell(object, now)]
    }
}
