//! The objects that a binding gives a policy as parameters.

use std::sync::Arc;

use meta::labels::Selector;
use serde_json::Value;
use watch::Scope;

use super::compiled::{Binding, Body};
use crate::admission::Review;
use crate::core::Core;
use crate::kinds::Kind;
use crate::object::text;
use crate::status::of_watch;

/// The kind of a policy's parameters, if there is one and it is served.
pub(super) fn kind(review: &Review<'_>, body: &Body) -> Result<Option<Arc<Kind>>, String> {
    let Some((api_version, kind)) = &body.params else {
        return Ok(None);
    };
    let served = review.core.kinds.now();
    let mut all = served.all().iter();
    let found = all.find(|one| one.api_version == *api_version && *one.row.kind == **kind && one.cache().is_ok());
    found
        .cloned()
        .map(Some)
        .ok_or_else(|| format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"))
}

/// The parameters, each to be judged with by itself: none at all when nothing is found and that is allowed, one that is
/// null when the policy or the binding wants none.
pub(super) async fn collect(
    review: &Review<'_>,
    kind: Option<&Arc<Kind>>,
    binding: &Binding,
) -> Result<Vec<Value>, String> {
    let (Some(kind), Some(wanted)) = (kind, &binding.params) else {
        return Ok(vec![Value::Null]);
    };
    let given = text(wanted, &["namespace"]);
    let namespace = match (kind.row.namespaced, given) {
        (true, "") if review.space().is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into(),
            );
        }
        (true, "") => Some(review.space()),
        (true, given) => Some(given),
        (false, "") => None,
        (false, _) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
    };
    let found = match text(wanted, &["name"]) {
        "" => selected(review.core, kind, namespace, wanted).await?,
        name => named(review.core, kind, namespace, name).await?.into_iter().collect(),
    };
    if found.is_empty() && wanted["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}

async fn named(core: &Core, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>, String> {
    let told = |status: meta::Status| status.message;
    let cache = kind.cache().map_err(told)?;
    let key = kind.key(namespace, name);
    let version = match cache.get(&key) {
        Some(version) => Some(version),
        // It may have been made a moment ago.
        None => {
            cache.fresh().await.map_err(|error| told(of_watch(error)))?;
            cache.get(&key)
        }
    };
    let Some(version) = version else { return Ok(None) };
    let shown = kind
        .present(core, std::slice::from_ref(version.bytes()))
        .await
        .map_err(told)?;
    let tree = shown.first().map(|stored| kind.tree(stored, version.revision()));
    tree.transpose().map_err(told)
}

async fn selected(core: &Core, kind: &Kind, namespace: Option<&str>, wanted: &Value) -> Result<Vec<Value>, String> {
    let told = |status: meta::Status| status.message;
    let selector = Selector::from_label_selector(wanted.get("selector")).map_err(|error| error.to_string())?;
    let scope = namespace.map_or(Scope::All, Scope::namespace);
    let mut found = Vec::new();
    let snapshot = kind.cache().map_err(told)?.list(&scope);
    let chosen = snapshot
        .iter()
        .filter(|version| selector.matches(&version.projection().labels[..]));
    for version in chosen {
        let shown = kind
            .present(core, std::slice::from_ref(version.bytes()))
            .await
            .map_err(told)?;
        for stored in &shown {
            found.push(kind.tree(stored, version.revision()).map_err(told)?);
        }
    }
    Ok(found)
}
