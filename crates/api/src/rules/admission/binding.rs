//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::matching;
use crate::rules::check::Errors;
use crate::rules::column::{self, text};
use crate::rules::view::{Edit as _, View as _};
use crate::rules::{Column, Rules, age, form, metadata, strategy};

/// The rules of a binding of policies.
pub(crate) struct Binding {
    pub(crate) mutating: bool,
}

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

impl Rules for Binding {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        if let Some(matching) = object.object("spec").there("matchResources") {
            matching::default(matching);
            matching::default_rules(matching, "resourceRules");
            matching::default_rules(matching, "excludeResourceRules");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::count_generation(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        super::create(object, &mut errors);
        self.spec(object.at("spec"), &mut errors);
        super::not_reserved(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        self.spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("PolicyName", "The policy that it binds."),
            text("ParamRef", "The parameters that the policy gets."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        vec![
            column::name(object),
            spec.text("policyName").into(),
            param(spec.at("paramRef")).into(),
            age::cell(object, now),
        ]
    }
}

fn param(param: &Value) -> String {
    match (param.text("namespace"), param.text("name")) {
        _ if param.is_null() => "<unset>".to_owned(),
        ("", "") if param.has("selector") => column::selector(param.at("selector")),
        (_, "") => "<unset>".to_owned(),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

impl Binding {
    fn spec(&self, spec: &Value, errors: &mut Errors) {
        let at = Path::new("spec");
        errors.required_form(&at.child("policyName"), spec.text("policyName"), form::dns_subdomain);
        if spec.has("paramRef") {
            param_ref(spec.at("paramRef"), &at.child("paramRef"), errors);
        }
        if spec.has("matchResources") {
            matching::match_resources(spec.at("matchResources"), &at.child("matchResources"), errors);
        }
        if !self.mutating {
            actions(spec, &at.child("validationActions"), errors);
        }
    }
}

fn actions(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, action) in spec.list("validationActions").iter().enumerate() {
        let (action, at) = (action.as_str().unwrap_or_default(), at.index(index));
        errors.one_of(&at, action, &ACTIONS);
        if !seen.insert(action) {
            errors.duplicate(&at, action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.invalid(at, spec.at("validationActions").clone(), why);
    }
    if seen.is_empty() {
        errors.required(at, "at least one validation action is required");
    }
}

fn param_ref(param: &Value, at: &Path<'_>, errors: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let name = param.text("name");
    if !name.is_empty() {
        errors.invalid_each(&at.child("name"), name, form::path_segment(name));
        if param.has("selector") {
            errors.forbidden(&at.child("name"), EXCLUSIVE);
        }
    }
    if param.has("selector") {
        errors.selector(&at.child("selector"), param.at("selector"));
        if !name.is_empty() {
            errors.forbidden(&at.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && !param.has("selector") {
        errors.required(at, "one of name or selector must be specified");
    }
    let action = at.child("parameterNotFoundAction");
    match param.text("parameterNotFoundAction") {
        "" => errors.required(&action, ""),
        given => errors.one_of(&action, given, &["Deny", "Allow"]),
    }
}
