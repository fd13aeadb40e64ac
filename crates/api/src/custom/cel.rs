//! The rules in CEL of a definition (`x-kubernetes-validations`): compiled when an object is first checked, evaluated on
//! every write that got past the rest of validation. The expressions' engine is a crate; the field errors are Kubernetes'.

use kube_cel::{CompilationError, CompiledSchema, ErrorKind, ValidationError, Validator};
use meta::{FieldError, FieldErrorType, Path};
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::view::View as _;

/// The compiled rules of a schema.
pub(crate) struct Expressions {
    compiled: CompiledSchema,
    validator: Validator,
}

impl std::fmt::Debug for Expressions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expressions")
    }
}

impl Expressions {
    /// Compiles all rules of a schema.
    pub(crate) fn compile(schema: &Value) -> Expressions {
        Expressions {
            compiled: kube_cel::compile_schema(schema),
            validator: Validator::new(),
        }
    }

    /// What the rules have against an object, or against its change. What has not changed may stay as it was.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let Err(found) = self.validator.validate_compiled(&self.compiled, object, old) else {
            return Vec::new();
        };
        let unchanged = |error: &ValidationError| {
            let value = at(object, &error.field_path);
            old.is_some_and(|old| value.is_some() && at(old, &error.field_path) == value)
        };
        found
            .into_iter()
            .filter(|error| error.rule.contains("oldSelf") || !unchanged(error))
            .map(|error| field_error(object, error))
            .collect()
    }
}

fn field_error(object: &Value, error: ValidationError) -> FieldError {
    let shown = match at(object, &error.field_path) {
        None | Some(Value::Object(_) | Value::Array(_)) => None,
        scalar => scalar.cloned(),
    };
    let path = if error.field_path.is_empty() {
        "<nil>".to_owned()
    } else {
        error.field_path
    };
    let detail = match error.kind {
        ErrorKind::ValidationFailure if error.message.is_empty() => format!("failed rule: {}", error.rule.trim()),
        _ => error.message,
    };
    let invalid = FieldError {
        path: path.clone(),
        error: FieldErrorType::Invalid,
        bad_value: shown.clone(),
        detail: detail.clone(),
    };
    match error.reason.as_deref() {
        Some("FieldValueForbidden") => FieldError::forbidden(path, detail),
        Some("FieldValueRequired") => FieldError::required(path, detail),
        Some("FieldValueDuplicate") => FieldError {
            error: FieldErrorType::Duplicate,
            detail: String::new(),
            ..invalid
        },
        _ => invalid,
    }
}

/// The value at a path as errors have it: `spec.list[0].name`, `spec.map[key]`.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches(']');
        value = match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            other => other.get(name)?,
        };
    }
    Some(value)
}

/// Rules that can't be compiled, by their places in a definition.
pub(crate) fn check_rules(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let compiled = kube_cel::compile_schema(schema);
    walk(&compiled, schema, at, errors);
}

fn walk(compiled: &CompiledSchema, schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let list = at.child("x-kubernetes-validations");
    let rules = schema.list("x-kubernetes-validations");
    for (index, (result, rule)) in compiled.validations.iter().zip(rules).enumerate() {
        let at = list.index(index);
        match result {
            Ok(_) => {}
            Err(CompilationError::MessageExpressionParse { source, .. }) => {
                let why = format!("messageExpression compilation failed: {source}");
                errors.invalid(&at.child("messageExpression"), rule.clone(), &why);
            }
            Err(CompilationError::Parse { source, .. }) => {
                errors.invalid(
                    &at.child("rule"),
                    rule.clone(),
                    &format!("compilation failed: {source}"),
                );
            }
            Err(other) => errors.invalid(&at.child("rule"), rule.clone(), &other.to_string()),
        }
    }
    let properties = at.child("properties");
    for (name, child) in &compiled.properties {
        walk(child, schema.at("properties").at(name), &properties.key(name), errors);
    }
    for (key, child) in [
        ("items", &compiled.items),
        ("additionalProperties", &compiled.additional_properties),
    ] {
        if let Some(child) = child {
            walk(child, schema.at(key), &at.child(key), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
        let found = Expressions::compile(schema).check(object, old);
        found.iter().map(ToString::to_string).collect()
    }

    fn schema() -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "message": "min must not exceed max"},
                {"rule": "self.size == oldSelf.size", "reason": "FieldValueForbidden", "fieldPath": ".size",
                    "messageExpression": "'size was ' + string(oldSelf.size)"},
            ],
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "size": {"type": "integer"},
                "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}}}}})
    }

    #[test]
    fn rules_speak_as_in_kubernetes() {
        let good = json!({"spec": {"min": 1, "max": 2, "size": 1, "name": "a"}});
        assert_eq!(told(&schema(), &good, None), Vec::<String>::new());
        let bad = json!({"spec": {"min": 3, "max": 2, "size": 2, "name": "b"}});
        assert_eq!(
            told(&schema(), &bad, Some(&good)),
            [
                "spec: Invalid value: min must not exceed max",
                "spec.size: Forbidden: size was 1",
                "spec.name: Invalid value: \"b\": failed rule: self.startsWith('a')",
            ]
        );
    }

    #[test]
    fn what_has_not_changed_may_stay_wrong() {
        let old = json!({"spec": {"min": 1, "max": 2, "size": 1, "name": "b"}});
        let new = json!({"spec": {"min": 2, "max": 2, "size": 1, "name": "b"}});
        assert_eq!(told(&schema(), &new, Some(&old)), Vec::<String>::new());
    }

    #[test]
    fn a_rule_that_is_none_is_refused() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string",
            "x-kubernetes-validations": [{"rule": "self ="}]}}});
        let mut errors = Errors::default();
        check_rules(&schema, &Path::new("schema"), &mut errors);
        let told = errors.0[0].to_string();
        assert!(
            told.starts_with("schema.properties[a].x-kubernetes-validations[0].rule: Invalid value: "),
            "{told}"
        );
    }
}
