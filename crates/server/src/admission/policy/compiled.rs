//! A policy and its bindings, compiled.

use std::sync::Arc;

use api::expression::{Declared, Expression, Scope, Type};
use serde_json::Value;

use crate::admission::matching::Criteria;
use crate::object::text;

/// A policy with its bindings.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) revision: String,
    pub(super) body: Arc<Body>,
    pub(super) bindings: Vec<Binding>,
}

/// What a policy itself says.
pub(super) struct Body {
    pub(super) ignores_failures: bool,
    pub(super) is_asked_again: bool,
    pub(super) criteria: Criteria,
    /// `apiVersion` and `kind` of the parameters.
    pub(super) params: Option<(String, String)>,
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) conditions: Vec<Compiled>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Compiled)>,
    pub(super) mutations: Vec<Mutation>,
}

/// An expression, or why it is none.
pub(super) type Compiled = Result<Expression, String>;

pub(super) struct Validation {
    pub(super) expression: Compiled,
    pub(super) text: String,
    pub(super) message: String,
    pub(super) message_expression: Option<Compiled>,
    pub(super) reason: String,
}

pub(super) struct Mutation {
    pub(super) is_json_patch: bool,
    pub(super) expression: Compiled,
}

pub(super) struct Binding {
    pub(super) name: String,
    pub(super) criteria: Option<Criteria>,
    pub(super) params: Option<Value>,
    pub(super) actions: Vec<String>,
}

impl Binding {
    pub(super) fn compile(binding: &Value) -> Binding {
        let spec = &binding["spec"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Binding {
            name: text(binding, &["metadata", "name"]).to_owned(),
            criteria: spec.get("matchResources").map(Criteria::of_policy),
            params: spec.get("paramRef").filter(|params| params.is_object()).cloned(),
            actions: actions.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    pub(super) fn has_action(&self, action: &str) -> bool {
        self.actions.iter().any(|have| have == action)
    }
}

impl Body {
    pub(super) fn compile(policy: &Value) -> Body {
        let spec = &policy["spec"];
        let params = spec.get("paramKind").filter(|kind| kind.is_object());
        let params = params.map(|kind| (text(kind, &["apiVersion"]).to_owned(), text(kind, &["kind"]).to_owned()));
        let variables = variables(spec, params.is_some());
        let types: Vec<_> = variables.iter().map(of_type).collect();
        let declared = Declared {
            params: params.is_some(),
            authorizer: true,
            variables: &types,
            patches: false,
        };
        let compile = |text: &str| Expression::compile(text, &declared);
        let list = |key: &str| spec[key].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let validation = |one: &Value| Validation {
            expression: compile(text(one, &["expression"])),
            text: text(one, &["expression"]).trim().to_owned(),
            message: text(one, &["message"]).trim().to_owned(),
            message_expression: one.get("messageExpression").and_then(Value::as_str).map(compile),
            reason: text(one, &["reason"]).to_owned(),
        };
        let mutation = |one: &Value| {
            let is_json_patch = one["patchType"] == "JSONPatch";
            let key = if is_json_patch {
                "jsonPatch"
            } else {
                "applyConfiguration"
            };
            let declared = Declared {
                patches: true,
                ..declared
            };
            Mutation {
                is_json_patch,
                expression: Expression::compile(text(one, &[key, "expression"]), &declared),
            }
        };
        Body {
            ignores_failures: spec["failurePolicy"] == "Ignore",
            is_asked_again: spec["reinvocationPolicy"] == "IfNeeded",
            criteria: Criteria::of_policy(&spec["matchConstraints"]),
            conditions: list("matchConditions")
                .map(|one| compile(text(one, &["expression"])))
                .collect(),
            validations: list("validations").map(validation).collect(),
            annotations: list("auditAnnotations")
                .map(|one| (text(one, &["key"]).to_owned(), compile(text(one, &["valueExpression"]))))
                .collect(),
            mutations: list("mutations").map(mutation).collect(),
            variables,
            params,
        }
    }

    /// Whether all match conditions hold; one that is false decides before one that fails.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> Result<bool, String> {
        let mut failures = Vec::new();
        for condition in &self.conditions {
            match evaluate(condition, scope) {
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(why) => failures.push(why),
            }
        }
        match failures.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

/// Variables that can't be compiled are not there: whoever uses one can't be compiled either, and says so.
fn variables(spec: &Value, params: bool) -> Vec<(String, Expression)> {
    let (mut variables, mut types) = (Vec::new(), Vec::new());
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let declared = Declared {
            params,
            authorizer: true,
            variables: &types,
            patches: false,
        };
        let name = text(variable, &["name"]).to_owned();
        if let Ok(expression) = Expression::compile(text(variable, &["expression"]), &declared) {
            let variable = (name, expression);
            types.push(of_type(&variable));
            variables.push(variable);
        }
    }
    variables
}

/// A variable's name and type.
fn of_type((name, expression): &(String, Expression)) -> (String, Type) {
    (name.clone(), expression.output().clone())
}

/// The value of an expression.
pub(super) fn evaluate(expression: &Compiled, scope: &Scope<'_>) -> Result<Value, String> {
    let expression = expression.as_ref().map_err(|why| format!("compilation error: {why}"))?;
    expression.evaluate(scope)
}
