//! What validating policies say of a request.

use std::collections::BTreeMap;

use api::expression::Scope;
use meta::Status;
use serde_json::{Value, json};

use super::compiled::{Binding, Body, Policy, Validation, evaluate};
use super::{Policies, namespace_object, params};
use crate::admission::Review;
use crate::admission::matching::{Matched, is_exempt, scope};

/// Longer messages of expressions are not told.
const MOST_MESSAGE: usize = 5 * 1024;
const MOST_ANNOTATION: usize = 10 * 1024;
/// So many failures are noted in one annotation.
const MOST_FAILURES: usize = 50;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

/// A refusal.
struct Denied {
    binding: Option<String>,
    policy: String,
    message: String,
    reason: String,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    denied: Vec<Denied>,
    failures: Vec<Value>,
}

/// What one evaluation says of one validation.
struct Decision {
    index: usize,
    message: String,
    reason: String,
}

impl Policies {
    /// Asks the validating policies.
    pub(crate) async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let policies = self.validating.load_full();
        if policies.is_empty() || is_exempt(review) {
            return Ok(());
        }
        let mut found = Found::default();
        for policy in policies.iter() {
            judge(policy, review, object, &mut found).await?;
        }
        if !found.failures.is_empty() {
            found.failures.truncate(MOST_FAILURES);
            review.call.annotate(FAILURES, &json!(found.failures).to_string());
        }
        match found.denied.into_iter().next() {
            Some(denied) => Err(refusal(review, denied)),
            None => Ok(()),
        }
    }
}

async fn judge(policy: &Policy, review: &Review<'_>, object: Option<&Value>, found: &mut Found) -> Result<(), Status> {
    let body = &policy.body;
    let matched = match body.criteria.matches(review, object).await {
        Ok(Some(matched)) => matched,
        Ok(None) => return Ok(()),
        Err(status) => {
            found.misconfigured(policy, None, &status.message);
            return Ok(());
        }
    };
    let kind = match params::kind(review, body) {
        Ok(kind) => kind,
        Err(why) => {
            found.misconfigured(policy, None, &why);
            return Ok(());
        }
    };
    let mut annotations: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for binding in &policy.bindings {
        let bound = match &binding.criteria {
            Some(criteria) => criteria.matches(review, object).await.map(|matched| matched.is_some()),
            None => Ok(true),
        };
        match bound {
            Ok(true) => {}
            Ok(false) => continue,
            Err(status) => {
                found.misconfigured(policy, Some(binding), &status.message);
                continue;
            }
        }
        let params = match params::collect(review, kind.as_ref(), binding).await {
            Ok(params) => params,
            Err(why) => {
                found.misconfigured(policy, Some(binding), &why);
                continue;
            }
        };
        let namespace = namespace_object(review).await?;
        for one in &params {
            let scope = self::given(body, review, &matched, object, namespace.as_ref(), one).await?;
            let decisions = decide(body, &scope);
            found.add(policy, binding, decisions, review);
            annotate(policy, binding, &scope, &mut annotations, found);
        }
    }
    for (key, values) in annotations {
        review
            .call
            .annotate(&format!("{}/{key}", policy.name), &values.join(", "));
    }
    Ok(())
}

/// What the expressions of a policy see.
pub(super) async fn given<'a>(
    body: &'a Body,
    review: &Review<'_>,
    matched: &Matched,
    object: Option<&Value>,
    namespace: Option<&Value>,
    params: &Value,
) -> Result<Scope<'a>, Status> {
    let kind = matched.kind(review);
    let object = matched.see(review, object).await?;
    let old = matched.see(review, review.old).await?;
    let mut scope = scope(review, kind, object.as_ref(), old.as_ref());
    scope.set_params(params);
    if let Some(namespace) = namespace {
        scope.set_namespace(namespace);
    }
    scope.set_variables(&body.variables);
    Ok(scope)
}

/// The validations that don't hold.
fn decide(body: &Body, scope: &Scope<'_>) -> Vec<Decision> {
    match body.holds(scope) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(_) if body.ignores_failures => return Vec::new(),
        Err(message) => {
            return vec![Decision {
                index: 0,
                message,
                reason: String::new(),
            }];
        }
    }
    let mut decisions = Vec::new();
    for (index, validation) in body.validations.iter().enumerate() {
        let (message, reason) = match evaluate(&validation.expression, scope) {
            Ok(Value::Bool(true)) => continue,
            Ok(_) => (message(validation, scope), validation.reason.clone()),
            Err(_) if body.ignores_failures => continue,
            Err(why) => (why, String::new()),
        };
        decisions.push(Decision { index, message, reason });
    }
    decisions
}

fn message(validation: &Validation, scope: &Scope<'_>) -> String {
    let said = validation.message_expression.as_ref().and_then(|expression| {
        let value = evaluate(expression, scope).ok()?;
        let text = value.as_str()?.trim();
        let good = !text.is_empty() && text.len() <= MOST_MESSAGE && !text.contains('\n');
        good.then(|| text.to_owned())
    });
    match said {
        Some(said) => said,
        None if validation.message.is_empty() => format!("failed expression: {}", validation.text),
        None => validation.message.clone(),
    }
}

fn annotate<'a>(
    policy: &'a Policy,
    binding: &Binding,
    scope: &Scope<'_>,
    annotations: &mut BTreeMap<&'a str, Vec<String>>,
    found: &mut Found,
) {
    // Conditions that don't hold, or fail, end the policy's say.
    if !matches!(policy.body.holds(scope), Ok(true)) {
        return;
    }
    for (key, expression) in &policy.body.annotations {
        match evaluate(expression, scope) {
            Ok(Value::String(text)) if !text.trim().is_empty() => {
                let mut text = text.trim().to_owned();
                while text.len() > MOST_ANNOTATION {
                    text.pop();
                }
                let values = annotations.entry(key).or_default();
                if !values.contains(&text) {
                    values.push(text);
                }
            }
            Ok(_) => {}
            Err(_) if policy.body.ignores_failures => {}
            Err(message) => found.denied.push(Denied {
                binding: Some(binding.name.clone()),
                policy: policy.name.clone(),
                message,
                reason: String::new(),
            }),
        }
    }
}

impl Found {
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.body.ignores_failures {
            return;
        }
        let what = if binding.is_some() { "binding" } else { "policy" };
        self.denied.push(Denied {
            binding: binding.map(|binding| binding.name.clone()),
            policy: policy.name.clone(),
            message: format!("failed to configure {what}: {why}"),
            reason: String::new(),
        });
    }

    fn add(&mut self, policy: &Policy, binding: &Binding, decisions: Vec<Decision>, review: &Review<'_>) {
        for decision in decisions {
            let (policy, binding_name, message) = (&policy.name, &binding.name, &decision.message);
            if binding.has_action("Audit") {
                self.failures.push(json!({
                    "message": message, "policy": policy, "binding": binding_name,
                    "expressionIndex": decision.index, "validationActions": binding.actions,
                }));
            }
            if binding.has_action("Warn") {
                review.call.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}': {message}"
                ));
            }
            if binding.has_action("Deny") {
                self.denied.push(Denied {
                    binding: Some(binding_name.clone()),
                    policy: policy.clone(),
                    message: decision.message,
                    reason: decision.reason,
                });
            }
        }
    }
}

fn refusal(review: &Review<'_>, denied: Denied) -> Status {
    let Denied {
        binding,
        policy,
        message,
        reason,
    } = denied;
    let message = match binding {
        Some(binding) => {
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}")
        }
        None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
    };
    let mut status = review.forbidden(&message).with_cause("", message, "");
    let reason = if reason.is_empty() {
        "Invalid".to_owned()
    } else {
        reason
    };
    status.code = match reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = reason.into();
    status
}
