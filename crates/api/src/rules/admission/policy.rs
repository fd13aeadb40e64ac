//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meta::{FieldError, GroupVersion, Path};
use serde_json::Value;

use super::matching;
use crate::expression::{Declared, Expression, Type, is_identifier};
use crate::rules::check::Errors;
use crate::rules::column::{self, integer, text};
use crate::rules::view::{Edit as _, View as _, same};
use crate::rules::{Column, Rules, age, form, metadata, strategy};

/// The rules of `validatingadmissionpolicies`.
pub(crate) struct Validating;
/// The rules of `mutatingadmissionpolicies`.
pub(crate) struct Mutating;

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const MOST_ANNOTATIONS: usize = 20;
const MOST_ANNOTATION_BYTES: usize = 5 * 1024;

impl Rules for Validating {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        super::create(object, &mut errors);
        validating(object, None, &mut errors);
        super::not_reserved(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        validating(object, Some(old), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("status.typeChecking");
        let list = at.child("expressionWarnings");
        let warnings = object.at("status").at("typeChecking").list("expressionWarnings");
        for (index, warning) in warnings.iter().enumerate() {
            for key in ["warning", "fieldRef"] {
                if warning.text(key).trim().is_empty() {
                    errors.required(&list.index(index).child(key), "");
                }
            }
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            integer("Validations", "How many validations it has."),
            text("ParamKind", "The kind of its parameters."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(object, "validations", now)
    }
}

impl Rules for Mutating {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        default(object);
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
        mutating(object, None, &mut errors);
        super::not_reserved(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        mutating(object, Some(old), &mut errors);
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            integer("Mutations", "How many mutations it has."),
            text("ParamKind", "The kind of its parameters."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(object, "mutations", now)
    }
}

fn default(object: &mut Value) {
    let spec = object.object("spec");
    spec.or("failurePolicy", "Fail");
    if let Some(matching) = spec.there("matchConstraints") {
        matching::default(matching);
        matching::default_rules(matching, "resourceRules");
        matching::default_rules(matching, "excludeResourceRules");
    }
}

fn cells(object: &Value, counted: &str, now: Timestamp) -> Vec<Value> {
    let spec = object.at("spec");
    let kind = spec.at("paramKind");
    let shown = match kind.is_null() {
        true => "<unset>".to_owned(),
        false => format!("{}/{}", kind.text("apiVersion"), kind.text("kind")),
    };
    vec![
        column::name(object),
        spec.list(counted).len().into(),
        shown.into(),
        age::cell(object, now),
    ]
}

/// What both kinds of policies have. Gives the variables with their types.
fn common(spec: &Value, old: Option<&Value>, at: &Path<'_>, errors: &mut Errors) -> Vec<(String, Type)> {
    match spec.text("failurePolicy") {
        "" => errors.required(&at.child("failurePolicy"), ""),
        policy => errors.one_of(&at.child("failurePolicy"), policy, &matching::FAILURE_POLICIES),
    }
    let params = spec.has("paramKind");
    if params {
        param_kind(spec.at("paramKind"), &at.child("paramKind"), errors);
    }
    let constraints = at.child("matchConstraints");
    if spec.has("matchConstraints") {
        matching::match_resources(spec.at("matchConstraints"), &constraints, errors);
        if spec.at("matchConstraints").list("resourceRules").is_empty() {
            errors.required(&constraints.child("resourceRules"), "");
        }
    } else {
        errors.required(&constraints, "");
    }
    let kept = old.is_some_and(|old| {
        let old = old.at("spec");
        ["paramKind", "matchConditions"]
            .iter()
            .all(|key| same(spec.at(key), old.at(key)))
    });
    if !kept {
        matching::conditions(
            spec.list("matchConditions"),
            params,
            &at.child("matchConditions"),
            errors,
        );
    }
    variables(spec, &at.child("variables"), errors)
}

fn variables(spec: &Value, at: &Path<'_>, errors: &mut Errors) -> Vec<(String, Type)> {
    let mut known = Vec::new();
    for (index, variable) in spec.list("variables").iter().enumerate() {
        let at = at.index(index);
        let name = variable.text("name");
        if name.trim().is_empty() {
            errors.required(&at.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at.child("name"), name, "must be a valid CEL identifier");
        }
        let text = variable.text("expression");
        let mut ty = Type::Dyn;
        if text.trim().is_empty() {
            errors.required(&at.child("expression"), "expression is not specified");
        } else {
            match Expression::compile(text, &declared(spec, &known)) {
                Ok(expression) => ty = expression.output().clone(),
                Err(why) => errors.invalid(&at.child("expression"), text, &why),
            }
        }
        known.push((name.to_owned(), ty));
    }
    known
}

fn declared<'a>(spec: &Value, variables: &'a [(String, Type)]) -> Declared<'a> {
    Declared {
        params: spec.has("paramKind"),
        authorizer: true,
        variables,
        patches: false,
    }
}

/// Checks an expression that must yield one of these types.
fn expression(text: &str, declared: &Declared<'_>, wanted: &[Type], at: &Path<'_>, errors: &mut Errors) {
    if let Err(why) = Expression::compile_to(text, declared, wanted) {
        errors.invalid(at, text, &why);
    }
}

fn param_kind(kind: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (version_at, version) = (at.child("apiVersion"), kind.text("apiVersion"));
    match GroupVersion::parse(version) {
        _ if version.is_empty() => errors.required(&version_at, ""),
        Err(why) => errors.invalid(&version_at, version, &why),
        Ok(parsed) => {
            let why = form::dns_subdomain(&parsed.group);
            if !parsed.group.is_empty() && !why.is_empty() {
                errors.invalid(&version_at, parsed.group.as_str(), &why.join(","));
            }
            let why = meta::names::dns1035_label(&parsed.version);
            if parsed.version.is_empty() {
                errors.invalid(&version_at, version, "version must be specified");
            } else if !why.is_empty() {
                errors.invalid(&version_at, parsed.version.as_str(), &why.join(","));
            }
        }
    }
    let name = kind.text("kind");
    let why = meta::names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&at.child("kind"), "");
    } else if !why.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", why.join(","));
        errors.invalid(&at.child("kind"), name, &why);
    }
}

fn validating(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let variables = common(spec, old, &at, errors);
    let (validations, annotations) = (spec.list("validations"), spec.list("auditAnnotations"));
    let (validations_at, annotations_at) = (at.child("validations"), at.child("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(&validations_at, why);
        errors.required(&annotations_at, why);
        return;
    }
    let declared = declared(spec, &variables);
    for (index, one) in validations.iter().enumerate() {
        validation(one, &declared, &validations_at.index(index), errors);
    }
    if annotations.len() > MOST_ANNOTATIONS {
        let why = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        errors.invalid(&annotations_at, spec.at("auditAnnotations").clone(), &why);
    }
    let mut keys = BTreeSet::new();
    for (index, one) in annotations.iter().enumerate() {
        let at = annotations_at.index(index);
        annotation(object.at("metadata").text("name"), one, &declared, &at, errors);
        if !keys.insert(one.text("key")) {
            errors.duplicate(&at.child("key"), one.text("key"));
        }
    }
}

fn validation(validation: &Value, declared: &Declared<'_>, at: &Path<'_>, errors: &mut Errors) {
    let text = validation.text("expression");
    if text.trim().is_empty() {
        errors.required(&at.child("expression"), "expression is not specified");
    } else {
        expression(text, declared, &[Type::Bool], &at.child("expression"), errors);
    }
    let text = validation.text("messageExpression");
    let message_at = at.child("messageExpression");
    if !text.is_empty() && text.trim().is_empty() {
        errors.invalid(&message_at, text, "must be non-empty if specified");
    } else if !text.is_empty() {
        let declared = Declared {
            authorizer: false,
            ..*declared
        };
        expression(text, &declared, &[Type::String], &message_at, errors);
    }
    let message = validation.text("message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at.child("message"), message, "must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&at.child("message"), message, "must not contain line breaks");
    }
    if validation.has("reason") {
        errors.one_of(&at.child("reason"), validation.text("reason"), &REASONS);
    }
}

fn annotation(policy: &str, annotation: &Value, declared: &Declared<'_>, at: &Path<'_>, errors: &mut Errors) {
    let key = annotation.text("key");
    if policy.is_empty() {
        errors.invalid(&at.child("key"), key, "requires metadata.name be non-empty");
    } else {
        let whole = format!("{policy}/{key}");
        errors.form(&at.child("key"), &whole, form::qualified_name);
    }
    let at = at.child("valueExpression");
    let text = annotation.text("valueExpression").trim();
    if text.is_empty() {
        errors.required(&at, "valueExpression is not specified");
    } else if text.len() > MOST_ANNOTATION_BYTES {
        errors.required(&at, &format!("must not exceed {MOST_ANNOTATION_BYTES} bytes in length"));
    } else {
        expression(text, declared, &[Type::String, Type::Null], &at, errors);
    }
}

fn mutating(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let variables = common(spec, old, &at, errors);
    let rules = spec.at("matchConstraints").list("resourceRules").iter();
    for operation in rules.flat_map(|rule| rule.list("operations")) {
        let constraints = at.child("matchConstraints");
        let rules = constraints.child("resourceRules");
        let operation = operation.as_str().unwrap_or_default();
        errors.one_of(&rules.child("operations"), operation, &MUTATING_OPERATIONS);
    }
    let mutations_at = at.child("mutations");
    let mutations = spec.list("mutations");
    if mutations.is_empty() {
        errors.required(&mutations_at, "mutations must contain at least one item");
    }
    let declared = Declared {
        patches: true,
        ..declared(spec, &variables)
    };
    for (index, one) in mutations.iter().enumerate() {
        mutation(one, &declared, &mutations_at.index(index), errors);
    }
    let policy = at.child("reinvocationPolicy");
    match spec.text("reinvocationPolicy") {
        "" => errors.required(&policy, ""),
        given => errors.one_of(&policy, given, &matching::REINVOCATION),
    }
}

fn mutation(mutation: &Value, declared: &Declared<'_>, at: &Path<'_>, errors: &mut Errors) {
    let kind = mutation.text("patchType");
    let (own, other) = match kind {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "" => return errors.required(&at.child("patchType"), ""),
        _ => return errors.not_supported(&at.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]),
    };
    let own_at = at.child(own);
    let text = mutation.at(own).text("expression").trim();
    if !mutation.has(own) {
        errors.required(&own_at, &format!("must be specified when patchType is {kind}"));
    } else if text.is_empty() {
        errors.required(&own_at.child("expression"), "");
    } else {
        let wanted = match kind {
            "JSONPatch" => Type::list(Expression::literal_type("JSONPatch")),
            _ => Expression::literal_type("Object"),
        };
        expression(text, declared, &[wanted], &own_at.child("expression"), errors);
    }
    if mutation.has(other) {
        let why = format!("must not be specified when patchType is {kind}");
        errors.invalid(&at.child(other), format!("{{{other}}}"), &why);
    }
}
