//! Delete: at once, or marked and left to those who still hold the object: a grace period, finalizers, dependents.

use std::sync::Arc;

use http::StatusCode;
use meta::{Revision, Status};
use serde_json::{Value, json};

use super::commit::{self, Committed};
use super::options::{DeleteOptions, Propagation};
use super::update::{self, Current};
use super::{Answer, Call, answer, unsafe_delete};
use crate::admission::{Operation, Review};
use crate::allocate;
use crate::kinds::Kind;
use crate::object;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS: usize = 50;

/// The resources whose deletion answers with the object; the others answer with a Status.
const ANSWERED_WITH_OBJECT: [(&str, &str); 17] = [
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// How a deletion ended.
pub(crate) struct Deleted {
    /// The object as it was last, or as it is now when it is only marked.
    pub(crate) object: Value,
    pub(crate) revision: Revision,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// Answers a DELETE of one object.
pub(crate) async fn delete(call: &Call) -> Result<Answer, Status> {
    let options = DeleteOptions::parse(call)?;
    if options.ignore_read_error {
        return unsafe_delete::delete(call, &options).await;
    }
    let name = call.name()?;
    let deleted = one(call, &call.kind, call.namespace(), name, &options).await?;
    let kind = &call.kind;
    let with_object = ANSWERED_WITH_OBJECT.contains(&(&kind.resource.group, &kind.resource.resource));
    if deleted.gone && !with_object {
        return Ok(answer::deleted(kind, name, object::uid(&deleted.object)));
    }
    Answer::of_tree(kind, StatusCode::OK, &deleted.object, deleted.revision)
}

/// Deletes one object of any kind.
pub(crate) async fn one(
    call: &Call,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    for _ in 0..ATTEMPTS {
        let current = update::current(&call.core, kind, namespace, name)
            .await?
            .ok_or_else(|| kind.not_found(name))?;
        preconditions(kind, name, options, &current)?;
        let review = Review {
            call,
            core: &call.core,
            user: &call.user,
            kind,
            namespace: namespace.unwrap_or_default(),
            name,
            subresource: "",
            operation: Operation::Delete,
            old: Some(&current.tree),
        };
        if !options.is_reviewed {
            call.core.admission.remove(&review).await?;
        }
        match step(call, kind, options, current).await? {
            Some(deleted) => return Ok(deleted),
            None => continue,
        }
    }
    Err(Status::modified(&kind.resource, name))
}

fn preconditions(kind: &Kind, name: &str, options: &DeleteOptions, current: &Current) -> Result<(), Status> {
    let stored = object::uid(&current.tree);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != stored) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Status::conflict(&kind.resource, name, why));
    }
    let stored = current.revision.to_string();
    if let Some(revision) = options.revision.as_deref().filter(|revision| *revision != stored) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {stored}"
        );
        return Err(Status::conflict(&kind.resource, name, why));
    }
    Ok(())
}

/// One try; nothing when somebody else changed the object meanwhile.
async fn step(
    call: &Call,
    kind: &Arc<Kind>,
    options: &DeleteOptions,
    current: Current,
) -> Result<Option<Deleted>, Status> {
    let mut marked = current.tree.clone();
    let before = marked.clone();
    finalizers_for(&mut marked, propagation(kind, options, &current.tree));
    let grace = kind.rules.grace_period(&current.tree, options.grace);
    mark(kind, &mut marked, grace);
    if object::is_deleting(&marked) && !object::is_deleting(&before) {
        kind.rules.prepare_delete(&mut marked);
    }
    let held = !object::finalizers(&marked).is_empty() || holds_content(kind, &marked);
    let waits = marked["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0 && grace.is_some();
    if held || waits {
        if marked == before {
            return Ok(Some(Deleted {
                object: marked,
                revision: current.revision,
                gone: false,
            }));
        }
        let stored = kind.stored(&marked)?;
        if options.dry_run {
            return Ok(Some(Deleted {
                object: marked,
                revision: current.revision,
                gone: false,
            }));
        }
        let stored = kind.written(&call.core, &marked, &stored).await?;
        let extra = commit::Extra::default();
        let committed = commit::put(&call.core, kind, current.key, current.revision, stored, extra).await?;
        return Ok(match committed {
            Committed::Done(revision) => Some(Deleted {
                object: marked,
                revision,
                gone: false,
            }),
            _ => None,
        });
    }
    // Only what goes gracefully is shown with the mark that it had for no time at all.
    let last = if grace.is_some() { marked } else { before };
    if options.dry_run {
        return Ok(Some(Deleted {
            object: last,
            revision: current.revision,
            gone: true,
        }));
    }
    let extra = allocate::for_delete(&call.core, kind, &current.tree);
    Ok(
        match commit::delete(&call.core, kind, current.key, current.revision, extra).await? {
            Committed::Done(revision) => Some(Deleted {
                object: last,
                revision,
                gone: true,
            }),
            _ => None,
        },
    )
}

/// What becomes of dependents: as the client says, as an earlier deletion has said, or as is usual for the kind.
fn propagation(kind: &Kind, options: &DeleteOptions, object: &Value) -> Option<Propagation> {
    let said = object::finalizers(object)
        .iter()
        .any(|finalizer| finalizer == ORPHAN || finalizer == FOREGROUND);
    let usual = (kind.rules.orphans_by_default() && !said).then_some(Propagation::Orphan);
    options.propagation.or(usual)
}

/// Puts in, or takes out, the finalizers by which the garbage collector deals with dependents.
fn finalizers_for(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut list = object::finalizers(object);
    list.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    match propagation {
        Propagation::Orphan => list.push(ORPHAN.to_owned()),
        Propagation::Foreground => list.push(FOREGROUND.to_owned()),
        Propagation::Background => {}
    }
    if list.is_empty() {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("finalizers");
        }
    } else {
        object["metadata"]["finalizers"] = json!(list);
    }
}

/// Marks an object as being deleted; a second deletion may only shorten the grace period.
fn mark(kind: &Kind, object: &mut Value, grace: Option<i64>) {
    let seconds = grace.unwrap_or(0).max(0);
    let now = jiff::Timestamp::now();
    let metadata = &mut object["metadata"];
    let given = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    let marked = metadata
        .get("deletionTimestamp")
        .and_then(Value::as_str)
        .and_then(meta::time::parse);
    let at = match (marked, given) {
        (Some(_), Some(given)) if grace.is_none() || seconds >= given => return,
        (Some(_), None) => return,
        // The end moves earlier by what the period has become shorter.
        (Some(end), Some(given)) => end.saturating_sub(jiff::SignedDuration::from_secs(given - seconds)),
        (None, _) => Ok(now
            .saturating_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(now)),
    };
    metadata["deletionTimestamp"] = meta::time::format_seconds(at.unwrap_or(now)).into();
    metadata["deletionGracePeriodSeconds"] = seconds.into();
    let has_spec = object.get("spec").is_some();
    if let Some(generation) = object["metadata"]
        .get("generation")
        .and_then(Value::as_i64)
        .filter(|_| has_spec)
    {
        object["metadata"]["generation"] = (generation + 1).into();
    }
    if kind.resource.resource == "namespaces" {
        object["status"]["phase"] = "Terminating".into();
    }
}

/// Whether a namespace still says that it must be emptied first.
fn holds_content(kind: &Kind, object: &Value) -> bool {
    kind.resource.resource == "namespaces"
        && object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
}
