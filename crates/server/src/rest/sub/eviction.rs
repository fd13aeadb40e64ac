//! Evictions: a deletion that disruption budgets may forbid for now.

use http::StatusCode;
use meta::{Revision, Status, labels};
use serde_json::{Value, json};
use watch::Scope;

use super::{Answer, Call};
use crate::admission::{Operation, Review};
use crate::object::{self, text};
use crate::rest::options::{DeleteOptions, WriteOptions};
use crate::rest::update::{self, Strategy, Target, Wanted};
use crate::rest::{decode, delete};

/// Answers a POST to `pods/NAME/eviction`.
pub(super) async fn evict(call: &Call) -> Result<Answer, Status> {
    let write = WriteOptions::parse(call, "CreateOptions")?;
    let mut eviction = decode::other(call, "policy/v1", "Eviction")?;
    let (name, namespace) = (call.name()?, call.namespace());
    let given = object::name(&eviction);
    if !given.is_empty() && given != name {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let review = Review::of_subresource(call, name, Operation::Create);
    call.core.admission.pass(&review, &mut eviction).await?;
    let body = serde_json::from_value(eviction["deleteOptions"].clone()).unwrap_or_default();
    let mut options = DeleteOptions::of(body)?;
    options.dry_run |= write.dry_run;
    options.is_reviewed = true;
    let pod = update::current(&call.core, &call.kind, namespace, name)
        .await?
        .ok_or_else(|| call.kind.not_found(name))?
        .tree;
    if needs_budget(&pod) {
        take_from_budget(call, &pod, options.dry_run).await?;
    }
    if !options.dry_run {
        let marked = mark(call, namespace, name, &options).await?;
        // It was this that changed it meanwhile.
        options.revision = options.revision.map(|_| marked.to_string());
    }
    delete::one(call, &call.kind, namespace, name, &options).await?;
    let mut status = Status::success(None).to_value();
    status["code"] = json!(201);
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object: status,
    })
}

/// Says in the pod's status why it is about to go, so that its owner can tell it from a failure of its own.
async fn mark(call: &Call, namespace: Option<&str>, name: &str, options: &DeleteOptions) -> Result<Revision, Status> {
    let target = Target {
        kind: &call.kind,
        namespace,
        name,
        subresource: "status",
        strategy: Strategy::Made,
    };
    let write = WriteOptions::internal(call, false);
    let updated = update::change(call, &write, &target, |pod| {
        let conflict = |what: &str, wanted: &str, found: &str| {
            let why =
                format!("the {what} in the precondition ({wanted}) does not match the {what} in record ({found})");
            Status::conflict(&call.kind.resource, name, why)
        };
        if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object::uid(pod)) {
            return Err(conflict("UID", uid, object::uid(pod)));
        }
        let revision = text(pod, &["metadata", "resourceVersion"]);
        if let Some(wanted) = options.revision.as_deref().filter(|wanted| *wanted != revision) {
            return Err(conflict("ResourceVersion", wanted, revision));
        }
        Ok(Wanted::of(disrupted(pod)))
    });
    Ok(updated.await?.revision)
}

fn disrupted(pod: &Value) -> Value {
    let mut marked = pod.clone();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let at = conditions
        .iter()
        .position(|condition| condition["type"] == "DisruptionTarget");
    let since = at
        .map(|at| conditions.remove(at))
        .filter(|before| before["status"] == "True");
    let since = since.map_or_else(
        || meta::time::now().into(),
        |before| before["lastTransitionTime"].clone(),
    );
    conditions.push(json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": null,
        "lastTransitionTime": since,
    }));
    marked["status"]["conditions"] = conditions.into();
    marked
}

/// A pod that has ended, or hasn't begun, disrupts nothing by going.
fn needs_budget(pod: &Value) -> bool {
    let phase = text(pod, &["status", "phase"]);
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !object::is_deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Takes one disruption from the budget that covers the pod.
async fn take_from_budget(call: &Call, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let budgets = call
        .core
        .kinds
        .find("policy", "v1", "poddisruptionbudgets")
        .ok_or_else(Status::no_such_resource)?;
    let namespace = object::namespace(pod);
    let mut covering = Vec::new();
    for version in budgets.cache()?.list(&Scope::namespace(namespace)).iter() {
        let budget = budgets.tree(version.bytes(), version.revision())?;
        let selector = labels::Selector::from_label_selector(budget.pointer("/spec/selector"));
        if selector.is_ok_and(|selector| selector.matches(&pod["metadata"]["labels"])) {
            covering.push(object::name(&budget).to_owned());
        }
    }
    let name = match covering.as_slice() {
        [] => return Ok(()),
        [name] => name.clone(),
        _ => {
            return Err(Status::failure(
                500,
                "InternalError",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let options = WriteOptions::internal(call, dry_run);
    let target = Target {
        kind: &budgets,
        namespace: Some(namespace),
        name: &name,
        subresource: "status",
        strategy: Strategy::Made,
    };
    let pod_name = object::name(pod).to_owned();
    let ready = is_ready(pod);
    update::change(call, &options, &target, |budget| spend(budget, &pod_name, ready))
        .await
        .map(|_| ())
}

/// The budget with one disruption less.
fn spend(budget: &Value, pod: &str, ready: bool) -> Result<Wanted, Status> {
    let name = object::name(budget);
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let policy = text(budget, &["spec", "unhealthyPodEvictionPolicy"]);
    let healthy_enough = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    if !ready && (policy == "AlwaysAllow" || healthy_enough) {
        return Ok(Wanted::of(budget.clone()));
    }
    let refuse = |why: String| {
        Err(
            Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
                .with_cause("DisruptionBudget", why, ""),
        )
    };
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return refuse(format!(
            "The disruption budget {name} is still being processed by the server."
        ));
    }
    let allowed = number("disruptionsAllowed");
    if allowed <= 0 {
        return refuse(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        ));
    }
    let mut changed = budget.clone();
    changed["status"]["disruptionsAllowed"] = (allowed - 1).into();
    changed["status"]["disruptedPods"][pod] = meta::time::now().into();
    Ok(Wanted::of(changed))
}
