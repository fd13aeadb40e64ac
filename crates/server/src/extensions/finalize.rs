//! The end of a definition: its objects are deleted first, as anybody would delete them, and it goes when they are gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use meta::Status;
use serde_json::{Value, json};
use watch::Scope;

use super::{GROUP, PATH, PLURAL, plan};
use crate::core::Core;
use crate::kinds::Kind;
use crate::{internal, object};

/// A conflict is tried again at once; more in a row mean that something else is wrong.
const ATTEMPTS: usize = 20;

/// Deletes the objects of a definition, then takes our finalizer away.
pub(super) async fn run(core: Arc<Core>, name: String) {
    if let Err(status) = end(&core, &name).await {
        tracing::warn!(%name, error = %status.message, "a definition could not be brought to its end");
    }
    // If it is still there it is tried again with its next change.
    core.extensions.state.lock().await.ending.remove(&name);
}

async fn end(core: &Arc<Core>, name: &str) -> Result<(), Status> {
    let progress = |reason: &'static str, message: &'static str, is: &'static str| {
        move |definition: &Value| {
            let mut status = definition["status"].clone();
            plan::set(&mut status, "Terminating", is, reason, message);
            json!({"status": status})
        }
    };
    let (reason, message) = ("InstanceDeletionInProgress", "CustomResource deletion is in progress");
    change(core, name, "/status", progress(reason, message, "True")).await?;
    let kind = core
        .kinds
        .now()
        .all()
        .iter()
        .find(|kind| format!("{}.{}", kind.row.plural, kind.row.group) == name && kind.row.custom.is_some())
        .cloned();
    let (reason, message) = match kind {
        Some(kind) => {
            empty(core, &kind).await?;
            ("InstanceDeletionCompleted", "removed all instances")
        }
        None => ("NeverEstablished", "resource was never established"),
    };
    change(core, name, "/status", progress(reason, message, "False")).await?;
    change(core, name, "", |definition| {
        let all = definition["metadata"]["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rest: Vec<Value> = all.into_iter().filter(|finalizer| finalizer != plan::CLEANUP).collect();
        json!({"metadata": {"finalizers": rest}})
    })
    .await
}

/// Deletes all objects of a kind, and waits until they are gone.
async fn empty(core: &Arc<Core>, kind: &Arc<Kind>) -> Result<(), Status> {
    let cache = kind.cache()?;
    let of_watch = crate::status::of_watch;
    cache.fresh().await.map_err(of_watch)?;
    let (snapshot, mut watcher) = cache.list_and_watch(watch::Selection::default()).map_err(of_watch)?;
    let mut namespaces = BTreeSet::new();
    for version in snapshot.iter() {
        let tree = kind.tree(version.bytes(), version.revision())?;
        namespaces.insert(object::namespace(&tree).to_owned());
    }
    for namespace in namespaces {
        let root = format!("/apis/{}", kind.api_version);
        let path = match namespace.as_str() {
            "" => format!("{root}/{}", kind.row.plural),
            namespace => format!("{root}/namespaces/{namespace}/{}", kind.row.plural),
        };
        internal::send(core, Method::DELETE, &path, "application/json", &json!({})).await?;
    }
    while !cache.list(&Scope::All).is_empty() {
        tokio::select! {
            () = core.stopping.cancelled() => return Err(Status::service_unavailable("the server stops")),
            next = watcher.next() => drop(next.map_err(of_watch)?),
        }
    }
    Ok(())
}

/// Changes a definition by a merge patch made from its present state.
async fn change(
    core: &Arc<Core>,
    name: &str,
    subresource: &str,
    patch: impl Fn(&Value) -> Value,
) -> Result<(), Status> {
    let key = meta::ObjectKey {
        namespace: None,
        name: name.to_owned(),
    };
    for _ in 0..ATTEMPTS {
        let Some(definition) = core.fresh_tree(GROUP, PLURAL, &key).await? else {
            return Ok(());
        };
        let mut patch = patch(&definition);
        patch["metadata"]["resourceVersion"] = definition["metadata"]["resourceVersion"].clone();
        let path = format!("{PATH}/{name}{subresource}");
        match internal::send(core, Method::PATCH, &path, "application/merge-patch+json", &patch).await {
            Err(status) if status.code == 409 => {}
            Err(status) if status.code == 404 => return Ok(()),
            result => return result,
        }
    }
    Err(Status::internal("the definition changed all the time"))
}
