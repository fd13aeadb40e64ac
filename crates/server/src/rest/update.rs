//! Update: from the stored object to the wanted one, again and again until its revision holds.

use std::sync::Arc;

use api::merge::apply::keep_times;
use bytes::Bytes;
use http::StatusCode;
use meta::{FieldError, Revision, Status};
use serde_json::Value;
use store::Key;

use super::commit::{self, Committed};
use super::options::WriteOptions;
use super::sub::scale;
use super::{Answer, Call, create, decode, decrypt, ownership};
use crate::admission::{Operation, Review};
use crate::allocate;
use crate::core::Core;
use crate::kinds::Kind;
use crate::object;
use crate::status::of_watch;

/// A write that meets others all the time gives up.
const ATTEMPTS: usize = 50;

/// What is updated.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a Arc<Kind>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
    /// The endpoint: the object itself, or one of its subresources.
    pub(crate) subresource: &'a str,
    pub(crate) strategy: Strategy,
}

/// What admission sees of an update.
enum Sight {
    /// Nothing: it has seen the request in its own form.
    Nothing,
    Object,
    /// The scale of the object.
    Scale,
}

impl Target<'_> {
    fn sight(&self) -> Sight {
        match (self.strategy, self.subresource) {
            (Strategy::Made, _) => Sight::Nothing,
            (_, "scale") => Sight::Scale,
            _ => Sight::Object,
        }
    }
}

/// Which of the kind's rules hold for an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Those of the object itself.
    Main,
    /// Those of its status.
    Status,
    /// Those of the subresource that the target names.
    Subresource,
    /// The server has made the object out of the stored one itself.
    Made,
}

/// What an update wants to store.
pub(crate) struct Wanted {
    pub(crate) object: Value,
    /// Server-side apply has settled managedFields already.
    pub(crate) owned: bool,
}

impl Wanted {
    pub(crate) fn of(object: Value) -> Wanted {
        Wanted { object, owned: false }
    }
}

/// What an update left.
pub(crate) struct Updated {
    pub(crate) stored: Bytes,
    pub(crate) revision: Revision,
}

impl Updated {
    pub(crate) fn answer(self) -> Answer {
        Answer::Object {
            code: StatusCode::OK,
            stored: self.stored,
            revision: self.revision,
        }
    }
}

/// An object as it is stored now.
pub(crate) struct Current {
    pub(crate) key: Key,
    /// In the version that is asked for.
    pub(crate) stored: Bytes,
    pub(crate) revision: Revision,
    pub(crate) tree: Value,
    /// Whether it is stored in the version in which it would be stored now.
    pub(crate) is_current: bool,
}

/// Reads an object with everything that was acknowledged before.
pub(crate) async fn current(
    core: &Core,
    kind: &Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Current>, Status> {
    let cache = kind.cache()?;
    cache.fresh().await.map_err(of_watch)?;
    let key = kind.key(namespace, name);
    let Some(version) = cache.get(&key) else {
        return Ok(None);
    };
    let (raw, revision) = (decrypt::object(core, &version).await?, version.revision());
    let stored = kind.present(core, std::slice::from_ref(&raw)).await?;
    let stored = stored.into_iter().next().unwrap_or_default();
    let tree = kind.tree(&stored, revision)?;
    Ok(Some(Current {
        key,
        stored,
        revision,
        tree,
        is_current: kind.is_current(&raw),
    }))
}

/// Answers a PUT to an object, or to its status.
pub(crate) async fn put(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(call, "UpdateOptions")?;
    let mut object = decode::object(call, &options)?;
    create::settle_namespace(call, &mut object)?;
    let name = call.name()?;
    let given = object::name(&object);
    if given.is_empty() {
        object["metadata"]["name"] = name.into();
    } else if given != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let target = target(call)?;
    let main = target.strategy == Strategy::Main;
    if main
        && call.kind.rules.create_on_update()
        && current(&call.core, target.kind, target.namespace, name)
            .await?
            .is_none()
    {
        if !object::text(&object, &["metadata", "resourceVersion"]).is_empty() {
            return Err(call.kind.not_found(name));
        }
        let (stored, revision) = create::new(call, &options, object, false).await?;
        return Ok(Answer::Object {
            code: StatusCode::CREATED,
            stored,
            revision,
        });
    }
    let updated = change(call, &options, &target, |_| Ok(Wanted::of(object.clone()))).await?;
    Ok(updated.answer())
}

/// The target of a request that updates an object, or its status.
pub(crate) fn target(call: &Call) -> Result<Target<'_>, Status> {
    let subresource = call.subresource();
    let strategy = match subresource {
        "" => Strategy::Main,
        "status" => Strategy::Status,
        _ => Strategy::Subresource,
    };
    Ok(Target {
        kind: &call.kind,
        namespace: call.namespace(),
        name: call.name()?,
        subresource,
        strategy,
    })
}

/// Changes a stored object. `modify` makes the wanted object out of the stored one; it is called again when somebody
/// else was faster, unless the wanted object names the revision that it was made from.
pub(crate) async fn change(
    call: &Call,
    options: &WriteOptions,
    target: &Target<'_>,
    modify: impl Fn(&Value) -> Result<Wanted, Status>,
) -> Result<Updated, Status> {
    let kind = target.kind;
    for _ in 0..ATTEMPTS {
        let current = current(&call.core, kind, target.namespace, target.name).await?;
        let current = current.ok_or_else(|| kind.not_found(target.name))?;
        let wanted = modify(&current.tree)?;
        let mut object = wanted.object;
        check_identity(target, &mut object, &current)?;
        prepare(call, options, target, &mut object, wanted.owned, &current.tree).await?;
        let mut extra = allocate::for_update(&call.core, kind, &mut object, &current.tree)?;
        let review = review(call, target, &current.tree);
        let charging = call.core.admission.charge(&review, &object, &mut extra);
        let _turn = charging.await?;
        keep_times(&current.tree, &mut object);
        let stored = kind.stored(&object)?;
        let changes_nothing = stored == current.stored && current.is_current;
        if options.dry_run || (changes_nothing && !is_stale(call, &current).await?) {
            return Ok(Updated {
                stored,
                revision: current.revision,
            });
        }
        let committed = if is_last_update(&object) {
            let extra = allocate::for_delete(&call.core, kind, &object);
            commit::delete(&call.core, kind, current.key, current.revision, extra).await?
        } else {
            let written = kind.written(&call.core, &object, &stored).await?;
            commit::put(&call.core, kind, current.key, current.revision, written, extra).await?
        };
        match committed {
            Committed::Done(revision) => return Ok(Updated { stored, revision }),
            Committed::Moved | Committed::Taken => {}
        }
    }
    Err(Status::modified(&kind.resource, target.name))
}

/// Whether an object is to be written again though nothing in it changes: because another key encrypts it now.
async fn is_stale(call: &Call, current: &Current) -> Result<bool, Status> {
    call.core.at_rest.is_stale(&current.key, current.revision).await
}

/// The metadata that an update can't change, and the revision and uid that it may demand.
fn check_identity(target: &Target<'_>, object: &mut Value, current: &Current) -> Result<(), Status> {
    let kind = target.kind;
    let demanded = object::text(object, &["metadata", "resourceVersion"]);
    let revision = current.revision.to_string();
    if demanded.is_empty() || demanded == "0" {
        if !kind.rules.unconditional_update() && target.strategy != Strategy::Made {
            let path = "metadata.resourceVersion";
            let error = FieldError::invalid(path, 0, "must be specified for an update");
            return Err(Status::invalid(&kind.group_kind, target.name, &[error]));
        }
    } else if demanded != revision {
        return Err(Status::modified(&kind.resource, target.name));
    }
    let (uid, stored) = (object::uid(object), object::uid(&current.tree));
    if !uid.is_empty() && uid != stored {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Status::conflict(&kind.resource, target.name, why));
    }
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    for field in kept.into_iter().chain(["name", "namespace", "resourceVersion"]) {
        match current.tree["metadata"].get(field) {
            Some(value) => object["metadata"][field] = value.clone(),
            None => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove(field);
                }
            }
        }
    }
    Ok(())
}

async fn prepare(
    call: &Call,
    options: &WriteOptions,
    target: &Target<'_>,
    object: &mut Value,
    owned: bool,
    old: &Value,
) -> Result<(), Status> {
    let (kind, rules) = (target.kind, &target.kind.rules);
    rules.default(object);
    // As at a create. The other endpoints first put back what can't be written through them.
    let by_client = target.strategy == Strategy::Main;
    if by_client && !owned {
        ownership::track(kind, target.subresource, Some(old), object, &options.manager);
    }
    let review = review(call, target, old);
    mutate(call, target, &review, object).await?;
    rules.default(object);
    match target.strategy {
        Strategy::Main => {
            rules.prepare_update(object, old);
            allocate::normalize(&call.core, kind, object, Some(old));
        }
        Strategy::Status => rules.prepare_status(object, old),
        Strategy::Subresource => rules.prepare_subresource(target.subresource, object, old),
        Strategy::Made => {}
    }
    // What the server does itself is nobody's, as in Kubernetes.
    if !by_client && !owned && target.strategy != Strategy::Made {
        ownership::track(kind, target.subresource, Some(old), object, &options.manager);
    }
    let errors = match target.strategy {
        Strategy::Main => rules.validate_update(object, old),
        Strategy::Status => rules.validate_status(object, old),
        Strategy::Subresource => rules.validate_subresource(target.subresource, object, old),
        Strategy::Made => Vec::new(),
    };
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group_kind, target.name, &errors));
    }
    rules.canonicalize(object);
    match target.sight() {
        Sight::Nothing => Ok(()),
        Sight::Object => call.core.admission.validate(&review, Some(object)).await,
        Sight::Scale => {
            let (scale, old) = (scale::of(call, object), scale::of(call, old));
            let review = Review {
                old: Some(&old),
                ..review
            };
            call.core.admission.validate(&review, Some(&scale)).await
        }
    }
}

/// Lets admission change what it sees of the object.
async fn mutate(call: &Call, target: &Target<'_>, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
    match target.sight() {
        Sight::Nothing => Ok(()),
        Sight::Object => call.core.admission.mutate(review, object).await,
        Sight::Scale => {
            let mut scale = scale::of(call, object);
            let old = review.old.map(|old| scale::of(call, old));
            let review = Review {
                old: old.as_ref(),
                ..*review
            };
            call.core.admission.mutate(&review, &mut scale).await?;
            scale::put(call, object, &scale)
        }
    }
}

fn review<'a>(call: &'a Call, target: &Target<'a>, old: &'a Value) -> Review<'a> {
    Review {
        call,
        core: &call.core,
        user: &call.user,
        kind: target.kind,
        namespace: target.namespace.unwrap_or_default(),
        name: target.name,
        subresource: target.subresource,
        operation: Operation::Update,
        old: Some(old),
    }
}

/// Whether nothing holds a deleted object any longer once this update is in.
fn is_last_update(object: &Value) -> bool {
    let held = object["metadata"]
        .get("finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
        || object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
    let waits = object["metadata"]
        .get("deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0)
        > 0;
    object::is_deleting(object) && !held && !waits
}
