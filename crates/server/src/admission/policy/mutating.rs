//! What mutating policies make of an object.

use api::merge::{Problem, json_patch, overlay};
use meta::Status;
use serde_json::Value;

use super::compiled::{Mutation, Policy, evaluate};
use super::validating::given;
use super::{Policies, namespace_object, params};
use crate::admission::Review;
use crate::admission::matching::{Matched, is_exempt, shape};
use crate::admission::rounds::Rounds;
use crate::object::{name, namespace};

/// A policy with one of its bindings and one object of parameters.
struct Invocation<'a> {
    policy: &'a Policy,
    binding: &'a str,
    matched: Matched,
    params: Value,
}

/// What went wrong, and for which policy.
struct Failure {
    policy: String,
    binding: Option<String>,
    message: String,
    ignored: bool,
    is_invalid: bool,
}

impl Policies {
    /// Lets the mutating policies change an object; there is none in a deletion.
    pub(crate) async fn mutate(
        &self,
        review: &Review<'_>,
        object: Option<&mut Value>,
        rounds: &mut Rounds,
    ) -> Result<(), Status> {
        let policies = self.mutating.load_full();
        if policies.is_empty() || is_exempt(review) {
            return Ok(());
        }
        let mut failures = Vec::new();
        let mut invocations = Vec::new();
        for policy in policies.iter() {
            select(policy, review, object.as_deref(), &mut invocations, &mut failures).await;
        }
        if let Some(object) = object.filter(|_| !invocations.is_empty()) {
            run(&invocations, review, object, rounds, &mut failures).await?;
        }
        refuse(review, &failures)
    }
}

async fn select<'a>(
    policy: &'a Policy,
    review: &Review<'_>,
    object: Option<&Value>,
    invocations: &mut Vec<Invocation<'a>>,
    failures: &mut Vec<Failure>,
) {
    let of_policy = |why: String| Failure::new(policy, None, format!("failed to configure policy: {why}"));
    let matched = match policy.body.criteria.matches(review, object).await {
        Ok(Some(matched)) => matched,
        Ok(None) => return,
        Err(status) => return failures.push(of_policy(status.message)),
    };
    let kind = match params::kind(review, &policy.body) {
        Ok(kind) => kind,
        Err(why) => return failures.push(of_policy(why)),
    };
    for binding in &policy.bindings {
        let bound = match &binding.criteria {
            Some(criteria) => criteria.matches(review, object).await.map(|matched| matched.is_some()),
            None => Ok(true),
        };
        let collected = match bound {
            Ok(true) => params::collect(review, kind.as_ref(), binding).await,
            Ok(false) => continue,
            Err(status) => Err(status.message),
        };
        match collected {
            Ok(params) => invocations.extend(params.into_iter().map(|params| Invocation {
                policy,
                binding: &binding.name,
                matched: matched.clone(),
                params,
            })),
            Err(why) => {
                let why = format!("failed to configure binding: {why}");
                failures.push(Failure::new(policy, Some(&binding.name), why));
            }
        }
    }
}

async fn run(
    invocations: &[Invocation<'_>],
    review: &Review<'_>,
    object: &mut Value,
    rounds: &mut Rounds,
    failures: &mut Vec<Failure>,
) -> Result<(), Status> {
    rounds.policies.begin(rounds.second, Some(object));
    let space = namespace_object(review).await?;
    for invocation in invocations {
        let Invocation { policy, params, .. } = invocation;
        let id = format!(
            "{}/{}/{}/{}",
            policy.name,
            invocation.binding,
            namespace(params),
            name(params)
        );
        let fail = |why: String| {
            let mut failure = Failure::new(policy, Some(invocation.binding), why);
            failure.is_invalid = true;
            failure
        };
        let scope = given(
            &policy.body,
            review,
            &invocation.matched,
            Some(object),
            space.as_ref(),
            params,
        )
        .await?;
        match policy.body.holds(&scope) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                failures.push(fail(why));
                continue;
            }
        }
        if rounds.second && !rounds.policies.wants(&id) {
            continue;
        }
        let before = object.clone();
        for mutation in &policy.body.mutations {
            // Each mutation sees what those before it have made.
            let scope = given(
                &policy.body,
                review,
                &invocation.matched,
                Some(object),
                space.as_ref(),
                params,
            )
            .await?;
            match change(mutation, &scope, review, &invocation.matched, object).await {
                Ok(changed) => *object = changed,
                Err(why) => failures.push(fail(why)),
            }
        }
        if before != *object {
            rounds.policies.require();
            rounds.wanted = true;
        }
        if policy.body.is_asked_again {
            rounds.policies.note(&id);
        }
    }
    rounds.policies.end(Some(object));
    Ok(())
}

/// The object after one mutation.
async fn change(
    mutation: &Mutation,
    scope: &api::expression::Scope<'_>,
    review: &Review<'_>,
    matched: &Matched,
    object: &Value,
) -> Result<Value, String> {
    let told = |status: Status| status.message;
    let current = matched
        .see(review, Some(object))
        .await
        .map_err(told)?
        .unwrap_or_default();
    let shape = shape(review, matched.kind(review)).map_err(told)?;
    let value = evaluate(&mutation.expression, scope)?;
    let patched = if mutation.is_json_patch {
        match json_patch(&current, &value) {
            Ok(patched) => patched.value,
            // A test that fails means: not this object.
            Err(Problem::Unprocessable { reason }) if reason.starts_with("testing value") => current,
            Err(Problem::Unprocessable { reason }) => return Err(format!("JSON Patch: {reason}")),
            Err(other) => return Err(format!("JSON Patch: {other}")),
        }
    } else {
        let mut config = value;
        for key in ["apiVersion", "kind"] {
            config[key] = current[key].clone();
        }
        let laid = overlay(shape.schema, shape.ty, &current, &config);
        laid.map_err(|why| format!("error applying patch: {why}"))?
    };
    matched.take_back(review, patched).await.map_err(told)
}

impl Failure {
    fn new(policy: &Policy, binding: Option<&str>, message: String) -> Failure {
        Failure {
            policy: policy.name.clone(),
            binding: binding.map(str::to_owned),
            message,
            ignored: policy.body.ignores_failures,
            is_invalid: false,
        }
    }
}

/// The refusal that failures are together.
fn refuse(review: &Review<'_>, failures: &[Failure]) -> Result<(), Status> {
    let mut refusal: Option<Status> = None;
    for failure in failures.iter().filter(|failure| !failure.ignored) {
        let Failure { policy, message, .. } = failure;
        let text = match &failure.binding {
            Some(binding) => format!("policy '{policy}' with binding '{binding}' denied request: {message}"),
            None => format!("policy {policy:?} denied request: {message}"),
        };
        let status = refusal.get_or_insert_with(|| {
            let mut status = review.forbidden("");
            status.message.clone_from(&text);
            if failure.is_invalid {
                status.reason = "Invalid".into();
            }
            status
        });
        *status = status.clone().with_cause("", text, "");
    }
    refusal.map_or(Ok(()), Err)
}
