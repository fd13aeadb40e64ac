//! Collecting what is wrong with an object: one method for each way a field can be wrong, and the checks that many kinds
//! share. Nothing is allocated until there is an error.

use meta::Path;
use serde_json::Value;

use super::view::{View as _, same};
use super::{FieldError, form};

/// The text for a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// A check of a text's form: every reason why it hasn't it.
pub(crate) type Form = fn(&str) -> Vec<String>;

/// The errors found so far.
#[derive(Default)]
pub(crate) struct Errors(pub(crate) Vec<FieldError>);

impl Errors {
    /// The field must be given.
    pub(crate) fn required(&mut self, at: &Path<'_>, detail: &str) {
        self.0.push(FieldError::required(at, detail));
    }

    /// The field's value is malformed.
    pub(crate) fn invalid(&mut self, at: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.0.push(FieldError::invalid(at, value, detail));
    }

    /// The field's value is malformed; it isn't told.
    pub(crate) fn malformed(&mut self, at: &Path<'_>, detail: &str) {
        let error = FieldError::invalid(at, Value::Null, detail);
        self.0.push(FieldError {
            bad_value: None,
            ..error
        });
    }

    /// The field's value is malformed, for each of these reasons.
    pub(crate) fn invalid_each(&mut self, at: &Path<'_>, value: &str, reasons: impl IntoIterator<Item = String>) {
        for reason in reasons {
            self.invalid(at, value, &reason);
        }
    }

    /// The field's value occurs twice.
    pub(crate) fn duplicate(&mut self, at: &Path<'_>, value: impl Into<Value>) {
        self.0.push(FieldError::duplicate(at, value));
    }

    /// The field's value is none of the known ones.
    pub(crate) fn not_supported(&mut self, at: &Path<'_>, value: &str, supported: &[&str]) {
        self.0.push(FieldError::not_supported(at, value, supported));
    }

    /// The field may not be set here.
    pub(crate) fn forbidden(&mut self, at: &Path<'_>, detail: &str) {
        self.0.push(FieldError::forbidden(at, detail));
    }

    /// What the field names isn't there.
    pub(crate) fn not_found(&mut self, at: &Path<'_>, value: impl Into<Value>) {
        self.0.push(FieldError::not_found(at, value));
    }

    /// The field is longer than so many bytes.
    pub(crate) fn too_long(&mut self, at: &Path<'_>, most: usize) {
        self.0.push(FieldError::too_long(at, most));
    }

    /// The list has more items than it may.
    pub(crate) fn too_many(&mut self, at: &Path<'_>, count: usize, most: usize) {
        self.0.push(FieldError::too_many(at, count, most));
    }

    /// The text must be one of these; an empty one is `required` when there is a text for that.
    pub(crate) fn one_of(&mut self, at: &Path<'_>, value: &str, supported: &[&str]) {
        if !supported.contains(&value) {
            self.not_supported(at, value, supported);
        }
    }

    /// The number must not be negative.
    pub(crate) fn not_negative(&mut self, at: &Path<'_>, value: Option<i64>) {
        if let Some(value) = value
            && value < 0
        {
            self.invalid(at, value, "must be greater than or equal to 0");
        }
    }

    /// The number must be in this range.
    pub(crate) fn in_range(&mut self, at: &Path<'_>, value: i64, low: i64, high: i64) {
        if !(low..=high).contains(&value) {
            self.invalid(at, value, &format!("must be between {low} and {high}, inclusive"));
        }
    }

    /// The number must be a port.
    pub(crate) fn port(&mut self, at: &Path<'_>, value: i64) {
        self.in_range(at, value, 1, 65_535);
    }

    /// The field must be what it was.
    pub(crate) fn immutable(&mut self, at: &Path<'_>, new: &Value, old: &Value) {
        if !same(new, old) {
            self.invalid(at, new.clone(), IMMUTABLE);
        }
    }

    /// The field must be what it was; the value isn't told (as Kubernetes has it where it declares the rule).
    pub(crate) fn fixed(&mut self, at: &Path<'_>, new: &Value, old: &Value) {
        if !same(new, old) {
            self.invalid(at, Value::Null, IMMUTABLE);
        }
    }

    /// Labels must be qualified names with values of at most 63 plain characters.
    pub(crate) fn labels(&mut self, at: &Path<'_>, labels: &Value) {
        for (key, value) in labels.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            self.invalid_each(at, key, form::qualified_name(key));
            self.invalid_each(at, value, form::label_value(value));
        }
    }

    /// A label selector must be one.
    pub(crate) fn selector(&mut self, at: &Path<'_>, selector: &Value) {
        self.labels(&at.child("matchLabels"), selector.at("matchLabels"));
        let expressions = at.child("matchExpressions");
        for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
            let at = expressions.index(index);
            let values = expression.list("values");
            match expression.text("operator") {
                "In" | "NotIn" if values.is_empty() => self.required(
                    &at.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ),
                "Exists" | "DoesNotExist" if !values.is_empty() => self.forbidden(
                    &at.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => self.invalid(&at.child("operator"), other, "not a valid selector operator"),
            }
            let key = expression.text("key");
            self.invalid_each(&at.child("key"), key, form::qualified_name(key));
            for (index, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                self.invalid_each(&at.child("values").index(index), value, form::label_value(value));
            }
        }
    }

    /// The text, when there is one, must have this form.
    pub(crate) fn form(&mut self, at: &Path<'_>, value: &str, check: Form) {
        self.invalid_each(at, value, check(value));
    }

    /// The field must be there and have this form.
    pub(crate) fn required_form(&mut self, at: &Path<'_>, value: &str, check: Form) {
        if value.is_empty() {
            self.required(at, "");
        } else {
            self.form(at, value, check);
        }
    }
}
