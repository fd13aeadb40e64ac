//! Webhooks: the configurations, compiled once a change, and the calls by which others change or refuse a request.

mod hook;
mod review;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use meta::Status;
use serde_json::Value;
use watch::Scope;

use super::Review;
use super::matching::{Matched, is_exempt};
use super::rounds::Rounds;
use crate::core::Core;
use crate::object;
use crate::traces::{self, Caller, Span};

use hook::Hook;
use review::{Verdict, denied, question, verdict};

pub(crate) const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";
/// The resources whose changes compile anew.
pub(crate) const SOURCES: [&str; 2] = [MUTATING, VALIDATING];

/// All webhooks, in the order of their configurations' names.
#[derive(Default)]
pub(crate) struct Webhooks {
    mutating: ArcSwap<Vec<Arc<Hook>>>,
    validating: ArcSwap<Vec<Arc<Hook>>>,
}

/// Why a webhook's word doesn't let a request pass.
enum Refusal {
    /// It could not be asked, or its answer is none: its failure policy decides.
    Failed(String),
    /// It, or the server for it, says no.
    Said(Box<Status>),
}

impl Webhooks {
    /// Compiles what has changed.
    pub(crate) fn compile(&self, core: &Core) {
        for (plural, list) in [(MUTATING, &self.mutating), (VALIDATING, &self.validating)] {
            list.store(Arc::new(compiled(core, plural, &list.load())));
        }
    }

    /// Asks the mutating ones, one after the other; without an object (a deletion) they can only refuse.
    pub(crate) async fn mutate(
        &self,
        review: &Review<'_>,
        mut object: Option<&mut Value>,
        rounds: &mut Rounds,
    ) -> Result<(), Status> {
        let hooks = self.mutating.load_full();
        if hooks.is_empty() || is_exempt(review) {
            return Ok(());
        }
        rounds.webhooks.begin(rounds.second, object.as_deref());
        for hook in hooks.iter() {
            let Some(matched) = hook.matches(review, object.as_deref()).await? else {
                continue;
            };
            if rounds.second && !rounds.webhooks.wants(&hook.id) {
                continue;
            }
            let outcome = change(hook, review, &matched, object.as_deref_mut()).await;
            if matches!(outcome, Ok(true)) {
                rounds.webhooks.require();
                rounds.wanted = true;
            }
            if hook.is_asked_again {
                rounds.webhooks.note(&hook.id);
            }
            let _changed = settle(hook, outcome)?;
        }
        rounds.webhooks.end(object.as_deref());
        Ok(())
    }

    /// Asks the validating ones, all at once.
    pub(crate) async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let hooks = self.validating.load_full();
        if hooks.is_empty() || is_exempt(review) {
            return Ok(());
        }
        let mut relevant = Vec::new();
        for hook in hooks.iter() {
            if let Some(matched) = hook.matches(review, object).await? {
                relevant.push((hook, matched));
            }
        }
        let asked = relevant.iter().map(|(hook, matched)| async move {
            let outcome = ask(hook, review, matched, object, false).await;
            settle(hook, outcome.map(|_| false)).map(drop)
        });
        join_all(asked).await.into_iter().collect()
    }
}

fn compiled(core: &Core, plural: &str, before: &[Arc<Hook>]) -> Vec<Arc<Hook>> {
    let Some(kind) = core.kinds.any(GROUP, plural) else {
        return Vec::new();
    };
    let Ok(cache) = kind.cache() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for version in cache.list(&Scope::All).iter() {
        let Ok(tree) = kind.tree(version.bytes(), version.revision()) else {
            continue;
        };
        let name = object::name(&tree);
        let known = before
            .iter()
            .filter(|hook| hook.configuration == name && hook.revision == version.revision());
        let known: Vec<Arc<Hook>> = known.cloned().collect();
        let hooks = tree["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        if known.len() == hooks.len() {
            all.extend(known);
            continue;
        }
        let hooks = hooks.iter().enumerate();
        all.extend(hooks.map(|(index, hook)| Arc::new(Hook::compile(name, version.revision(), index, hook))));
    }
    all
}

/// What a webhook's outcome means for the request.
fn settle(hook: &Hook, outcome: Result<bool, Refusal>) -> Result<bool, Status> {
    match outcome {
        Ok(changed) => Ok(changed),
        Err(Refusal::Said(status)) => Err(*status),
        Err(Refusal::Failed(why)) => {
            let why = format!("failed calling webhook {:?}: {why}", hook.name);
            if hook.ignores_failures {
                tracing::warn!(webhook = %hook.name, %why, "a webhook that failed is passed over, as it says");
                return Ok(false);
            }
            Err(Status::internal(why))
        }
    }
}

/// Asks one webhook.
async fn ask(
    hook: &Hook,
    review: &Review<'_>,
    matched: &Matched,
    object: Option<&Value>,
    mutating: bool,
) -> Result<Verdict, Refusal> {
    if review.is_dry_run() && !hook.is_free_of_effects {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Refusal::Said(Box::new(Status::bad_request(why))));
    }
    if !hook.speaks_v1 {
        let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1)";
        return Err(Refusal::Failed(why.to_owned()));
    }
    let kind = matched.kind(review);
    let said = |status: Status| Refusal::Said(Box::new(status));
    let object = matched.see(review, object).await.map_err(said)?;
    let old = matched.see(review, review.old).await.map_err(said)?;
    let (uid, body) = question(review, kind, object.as_ref(), old.as_ref()).map_err(Refusal::Failed)?;
    let endpoint = hook.endpoint.as_ref();
    let endpoint = endpoint.map_err(|why| Refusal::Failed(format!("could not get REST client: {why}")))?;
    let mut span = span(hook, review, &uid, mutating);
    let caller = Caller {
        span: Some(&span),
        headers: Some(&review.call.headers),
    };
    let answer = endpoint.post(review.core, caller, body, hook.timeout).await;
    let answer = answer.map_err(|why| {
        span.fail(&why);
        Refusal::Failed(format!("failed to call webhook: {why}"))
    })?;
    span.event("Request completed");
    let verdict = verdict(&answer, &uid, mutating).map_err(Refusal::Failed)?;
    for (key, value) in &verdict.annotations {
        review.call.annotate(&format!("{}/{key}", hook.name), value);
    }
    for warning in &verdict.warnings {
        review.call.warn(warning.clone());
    }
    if verdict.allowed {
        return Ok(verdict);
    }
    Err(said(denied(&hook.name, verdict.result.as_ref())))
}

/// The span of asking one webhook.
fn span(hook: &Hook, review: &Review<'_>, uid: &str, mutating: bool) -> Span {
    let mut span = traces::leaf(match mutating {
        true => "Call mutating webhook",
        false => "Call validating webhook",
    });
    if span.is_on() {
        let (group, version) = (&review.kind.resource.group, &review.kind.row.version);
        let resource = &review.kind.resource.resource;
        span.set("configuration", &hook.configuration);
        span.set("webhook", &hook.name);
        span.set("resource", &format!("{group}/{version}, Resource={resource}"));
        span.set("subresource", review.subresource);
        span.set("operation", review.operation.as_str());
        span.set("UID", uid);
    }
    span
}

/// Asks a mutating webhook and applies its patch. Tells whether that changed the object.
async fn change(
    hook: &Hook,
    review: &Review<'_>,
    matched: &Matched,
    object: Option<&mut Value>,
) -> Result<bool, Refusal> {
    let verdict = ask(hook, review, matched, object.as_deref(), true).await?;
    let Some(patch) = verdict.patch.filter(|patch| *patch != Value::Array(Vec::new())) else {
        return Ok(false);
    };
    let said = |status: Status| Refusal::Said(Box::new(status));
    let Some(object) = object else {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(said(Status::internal(why)));
    };
    let current = matched.see(review, Some(object)).await.map_err(said)?;
    let current = current.unwrap_or_default();
    let patched = api::merge::json_patch(&current, &patch).map_err(|problem| {
        let why = match &problem {
            api::merge::Problem::Unprocessable { reason } => reason.clone(),
            other => other.to_string(),
        };
        said(Status::internal(why))
    })?;
    let changed = matched.take_back(review, patched.value).await;
    let changed = changed.map_err(|status| said(Status::internal(status.message)))?;
    if changed == *object {
        return Ok(false);
    }
    *object = changed;
    Ok(true)
}
