//! One object.

use http::StatusCode;
use meta::{Revision, Status};

use super::{Answer, Call, decrypt};
use crate::status::of_watch;
use crate::traces;

/// Answers a get. Without a `resourceVersion` it sees everything that was acknowledged before.
pub(crate) async fn get(call: &Call) -> Result<Answer, Status> {
    let cache = call.kind.cache()?;
    let name = call.name()?;
    let key = call.kind.key(call.namespace(), name);
    let mut span = traces::enter("cacher.Get").audited();
    span.set("key", &key);
    span.set(
        "resource-version",
        call.query.get("resourceVersion").unwrap_or_default(),
    );
    match call.query.get("resourceVersion") {
        None => {
            cache.fresh().await.map_err(of_watch)?;
        }
        Some("0") => {}
        Some(text) => not_older(call, parse_revision(text)?).await?,
    }
    let version = cache.get(&key).ok_or_else(|| call.kind.not_found(name))?;
    let raw = decrypt::object(&call.core, &version).await?;
    let stored = call.kind.present(&call.core, std::slice::from_ref(&raw)).await?;
    Ok(Answer::Object {
        code: StatusCode::OK,
        stored: stored.into_iter().next().unwrap_or_default(),
        revision: version.revision(),
    })
}

/// Reads a revision as clients send it.
pub(crate) fn parse_revision(text: &str) -> Result<Revision, Status> {
    text.parse().map(Revision).map_err(|_| {
        let why = meta::FieldError::invalid(
            "resourceVersion",
            text,
            format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
        );
        Status::invalid(&meta::GroupKind::new("meta.k8s.io", "ListOptions"), "", &[why])
    })
}

/// Waits for a revision that the client has seen elsewhere; one that nobody has written is told from a slow cache.
pub(crate) async fn not_older(call: &Call, revision: Revision) -> Result<(), Status> {
    let cache = call.kind.cache()?;
    let waited = tokio::time::timeout(std::time::Duration::from_secs(3), cache.wait_until(revision)).await;
    match waited {
        Ok(result) => result.map_err(of_watch),
        Err(_) => {
            let current = cache.revision();
            let message = format!("Too large resource version: {revision}, current: {current}");
            Err(Status::timeout(&message, 1).with_cause("ResourceVersionTooLarge", "Too large resource version", ""))
        }
    }
}
