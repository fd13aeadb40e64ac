//! One webhook, compiled from its configuration.

use std::time::Duration;

use api::expression::{Declared, Expression};
use meta::{Revision, Status};
use serde_json::Value;

use crate::admission::Review;
use crate::admission::matching::{Criteria, Matched, scope};
use crate::callout::Endpoint;
use crate::object::text;

/// A compiled webhook.
pub(crate) struct Hook {
    /// The configuration that it is from, as of this revision.
    pub(crate) configuration: String,
    pub(crate) revision: Revision,
    /// Configuration, name and position.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) ignores_failures: bool,
    pub(crate) is_free_of_effects: bool,
    pub(crate) is_asked_again: bool,
    pub(crate) speaks_v1: bool,
    pub(crate) timeout: Duration,
    pub(crate) endpoint: Result<Endpoint, String>,
    criteria: Criteria,
    conditions: Vec<Result<Expression, String>>,
}

impl Hook {
    /// Compiles one webhook of a configuration.
    pub(crate) fn compile(configuration: &str, revision: Revision, index: usize, hook: &Value) -> Hook {
        let name = text(hook, &["name"]).to_owned();
        let declared = Declared {
            authorizer: true,
            ..Declared::default()
        };
        let conditions = hook["matchConditions"].as_array().into_iter().flatten();
        let conditions =
            conditions.map(|condition| Expression::compile(text(condition, &["expression"]).trim(), &declared));
        let versions = hook["admissionReviewVersions"].as_array();
        Hook {
            configuration: configuration.to_owned(),
            revision,
            id: format!("{configuration}/{name}/{index}"),
            ignores_failures: hook["failurePolicy"] == "Ignore",
            is_free_of_effects: matches!(text(hook, &["sideEffects"]), "None" | "NoneOnDryRun"),
            is_asked_again: hook["reinvocationPolicy"] == "IfNeeded",
            speaks_v1: versions.into_iter().flatten().any(|version| version == "v1"),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(10)),
            endpoint: Endpoint::compile(&hook["clientConfig"]),
            criteria: Criteria::of_webhook(hook),
            conditions: conditions.collect(),
            name,
        }
    }

    /// Whether it is to be asked about a request, and about which version of the object.
    pub(crate) async fn matches(&self, review: &Review<'_>, object: Option<&Value>) -> Result<Option<Matched>, Status> {
        let Some(matched) = self.criteria.matches(review, object).await? else {
            return Ok(None);
        };
        if self.conditions.is_empty() {
            return Ok(Some(matched));
        }
        let holds = self.holds(review, &matched, object).await?;
        Ok(holds.then_some(matched))
    }

    /// Whether all match conditions hold. One that is false decides; otherwise one that fails does, by the failure policy.
    async fn holds(&self, review: &Review<'_>, matched: &Matched, object: Option<&Value>) -> Result<bool, Status> {
        let kind = matched.kind(review);
        let object = matched.see(review, object).await?;
        let old = matched.see(review, review.old).await?;
        let scope = scope(review, kind, object.as_ref(), old.as_ref());
        let mut failures = Vec::new();
        for condition in &self.conditions {
            let value = condition.as_ref().map_err(|why| format!("compilation error: {why}"));
            match value.and_then(|condition| condition.evaluate(&scope)) {
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(why) => failures.push(why),
            }
        }
        match (failures.as_slice(), self.ignores_failures) {
            ([], _) => Ok(true),
            (_, true) => Ok(false),
            ([one], false) => Err(review.forbidden(one)),
            (many, false) => Err(review.forbidden(format!("[{}]", many.join(", ")))),
        }
    }
}
