//! Create.

use std::sync::Arc;

use http::StatusCode;
use meta::{Revision, Status, Uid};
use rand::RngExt as _;
use serde_json::{Value, json};

use super::commit::{self, Committed};
use super::options::WriteOptions;
use super::{Answer, Call, decode, ownership};
use crate::admission::{Operation, Review};
use crate::allocate;
use crate::kinds::Kind;
use crate::object;

/// Letters that spell no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
const MAX_GENERATED: usize = 63 - SUFFIX;
const ATTEMPTS: usize = 8;

/// Answers a POST to a collection.
pub(crate) async fn create(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(call, "CreateOptions")?;
    let mut object = decode::object(call, &options)?;
    settle_namespace(call, &mut object)?;
    let (stored, revision) = new(call, &options, object, false).await?;
    Ok(Answer::Object {
        code: StatusCode::CREATED,
        stored,
        revision,
    })
}

/// Puts the path's namespace into an object, or refuses one that says another.
pub(crate) fn settle_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    let given = object::namespace(object).to_owned();
    match call.namespace() {
        Some(namespace) => {
            if !given.is_empty() && given != namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            object["metadata"]["namespace"] = namespace.into();
        }
        None if !given.is_empty() && !call.kind.row.namespaced => {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        }
        None => {}
    }
    Ok(())
}

/// Stores a new object; `owned` when server-side apply has settled its managedFields already.
pub(crate) async fn new(
    call: &Call,
    options: &WriteOptions,
    object: Value,
    owned: bool,
) -> Result<(bytes::Bytes, Revision), Status> {
    let kind = Arc::clone(&call.kind);
    let prefix = generate_prefix(&object);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut candidate = object.clone();
        if let Some(prefix) = &prefix {
            candidate["metadata"]["name"] = generate(prefix).into();
        }
        let name = object::name(&candidate).to_owned();
        prepare(call, &kind, options, &mut candidate, owned).await?;
        let mut extra = allocate::for_create(&call.core, &kind, &mut candidate)?;
        let review = review(call, &kind, &name);
        let charging = call.core.admission.charge(&review, &candidate, &mut extra);
        // Held until the object is committed: the next one that is charged sees this one's account.
        let _turn = charging.await?;
        let stored = kind.stored(&candidate)?;
        let written = kind.written(&call.core, &candidate, &stored).await?;
        let key = kind.key(call.namespace(), &name);
        if options.dry_run {
            let there = kind.cache()?.get(&key).is_some();
            return if there {
                Err(Status::already_exists(&kind.resource, &name))
            } else {
                Ok((stored, Revision(0)))
            };
        }
        match commit::put(&call.core, &kind, key, Revision(0), written, extra).await? {
            Committed::Done(revision) => return Ok((stored, revision)),
            Committed::Taken if attempt < 64 => {}
            Committed::Taken => return Err(Status::server_timeout(&kind.resource, "create", 1)),
            Committed::Moved if prefix.is_none() => return Err(Status::already_exists(&kind.resource, &name)),
            Committed::Moved if attempt < ATTEMPTS => {}
            Committed::Moved => return Err(Status::generate_name_conflict(&kind.resource, &name)),
        }
    }
}

/// Everything between decoding and committing.
async fn prepare(
    call: &Call,
    kind: &Kind,
    options: &WriteOptions,
    object: &mut Value,
    owned: bool,
) -> Result<(), Status> {
    reset_system_metadata(object);
    kind.rules.default(object);
    // A client owns what it sent and its defaults, not what admission and the kind add to that.
    if !owned {
        ownership::track(kind, "", None, object, &options.manager);
    }
    let name = object::name(object).to_owned();
    let review = review(call, kind, &name);
    call.core.admission.mutate(&review, object).await?;
    kind.rules.default(object);
    kind.rules.prepare_create(object);
    allocate::normalize(&call.core, kind, object, None);
    record_requester(call, kind, object);
    let errors = kind.rules.validate_create(object);
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group_kind, &name, &errors));
    }
    kind.rules.canonicalize(object);
    call.core.admission.validate(&review, Some(object)).await
}

fn review<'a>(call: &'a Call, kind: &'a Kind, name: &'a str) -> Review<'a> {
    Review {
        call,
        core: &call.core,
        user: &call.user,
        kind,
        namespace: call.namespace().unwrap_or_default(),
        name,
        subresource: "",
        operation: Operation::Create,
        old: None,
    }
}

fn record_requester(call: &Call, kind: &Kind, object: &mut Value) {
    let extra = json!(call.user.extra);
    let requester = api::rules::Requester {
        name: &call.user.name,
        uid: &call.user.uid,
        groups: &call.user.groups,
        extra: &extra,
    };
    kind.rules.record_requester(object, &requester);
}

/// What only the server sets.
fn reset_system_metadata(object: &mut Value) {
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return;
    };
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), Uid::random().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), meta::time::now().into());
}

fn generate_prefix(object: &Value) -> Option<String> {
    let prefix = object::text(object, &["metadata", "generateName"]);
    (object::name(object).is_empty() && !prefix.is_empty()).then(|| prefix.to_owned())
}

/// A name of a prefix and some random letters.
pub(crate) fn generate(prefix: &str) -> String {
    let mut name: String = prefix.chars().take(MAX_GENERATED).collect();
    let mut random = rand::rng();
    for _ in 0..SUFFIX {
        name.push(char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    }
    name
}
