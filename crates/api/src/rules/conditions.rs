//! Conditions as the younger kinds have them in their status: `metav1.Condition`.

use meta::Path;
use serde_json::Value;

use super::check::Errors;
use super::form;
use super::view::View as _;

/// Conditions of the common form.
pub(crate) fn check(list: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, condition) in list.iter().enumerate() {
        let (at, kind) = (at.index(index), condition.text("type"));
        if list[..index].iter().any(|earlier| earlier.text("type") == kind) {
            errors.duplicate(&at, kind);
        }
        match kind {
            "" => errors.required(&at.child("type"), "is required"),
            kind => errors.form(&at.child("type"), kind, form::qualified_name),
        }
        match condition.text("status") {
            "" => errors.required(&at.child("status"), ""),
            status => errors.one_of(&at.child("status"), status, &["False", "True", "Unknown"]),
        }
        if let Some(generation) = condition.int("observedGeneration")
            && generation < 0
        {
            let detail = "must be greater than or equal to zero";
            errors.invalid(&at.child("observedGeneration"), generation, detail);
        }
        if condition.lacks("lastTransitionTime") {
            errors.required(&at.child("lastTransitionTime"), "");
        }
        reason(condition.text("reason"), &at.child("reason"), errors);
        if condition.text("message").len() > 32 << 10 {
            errors.too_long(&at.child("message"), 32 << 10);
        }
    }
}

fn reason(reason: &str, at: &Path<'_>, errors: &mut Errors) {
    let inner = |each: char| each.is_ascii_alphanumeric() || matches!(each, '_' | ',' | ':');
    let last = |each: char| each.is_ascii_alphanumeric() || each == '_';
    if reason.is_empty() {
        errors.required(at, "");
        return;
    }
    let starts = reason.starts_with(|first: char| first.is_ascii_alphabetic());
    if !starts || !reason.chars().all(inner) || !reason.ends_with(last) {
        let detail = "a condition reason must start with alphabetic character, optionally followed by a string of \
            alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or \
            'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
            '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        errors.invalid(at, reason, detail);
    }
    if reason.len() > 1 << 10 {
        errors.too_long(at, 1 << 10);
    }
}
