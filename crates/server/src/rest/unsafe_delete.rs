//! Deletes an object that can't be decrypted, when the client insists (`ignoreStoreReadErrorWithClusterBreakingPotential`).
//! Finalizers, dependents and what else holds an object back can't be read either and count for nothing, which is why it
//! takes a right of its own.
//!
//! <https://kep.k8s.io/3926>

use meta::Status;

use super::commit::{self, Committed, Extra};
use super::options::DeleteOptions;
use super::{Answer, Call, answer};
use crate::authz::{self, Attributes, Decision};
use crate::encryption::is_encrypted;
use crate::status::of_watch;

const VERB: &str = "unsafe-delete-ignore-read-errors";

/// Answers such a deletion.
pub(super) async fn delete(call: &Call, options: &DeleteOptions) -> Result<Answer, Status> {
    call.annotate("apiserver.k8s.io/unsafe-delete-ignore-read-error", "");
    let (kind, name) = (&call.kind, call.name()?);
    let attributes = Attributes {
        user: &call.user,
        verb: VERB,
        group: &kind.resource.group,
        resource: &kind.resource.resource,
        subresource: "",
        namespace: call.namespace().unwrap_or_default(),
        name,
        fields: "",
        path: None,
    };
    if let Decision::NoOpinion(why) = call.core.decide(&attributes) {
        return Err(authz::forbidden(&attributes, &why));
    }
    let cache = kind.cache()?;
    cache.fresh().await.map_err(of_watch)?;
    let key = kind.key(call.namespace(), name);
    let version = cache.get(&key).ok_or_else(|| kind.not_found(name))?;
    let stored = version.bytes();
    if !is_encrypted(stored) || call.core.at_rest.read(&key, stored).await.is_ok() {
        let why = "unsafe deletion is not allowed because the object is decodable from storage";
        return Err(Status::conflict(&kind.resource, name, why));
    }
    if options.dry_run {
        return Ok(answer::deleted(kind, name, ""));
    }
    match commit::delete(&call.core, kind, key, version.revision(), Extra::default()).await? {
        Committed::Done(_) => Ok(answer::deleted(kind, name, "")),
        Committed::Moved | Committed::Taken => Err(Status::modified(&kind.resource, name)),
    }
}
