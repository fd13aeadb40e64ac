//! Who owns an object, and how a controller comes to own what its selector matches.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use meta::ObjectKey;
use serde_json::{Value, json};

use crate::write::{Kind, Patch, Writer};

/// The one owner that acts for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a controller does about one object that it may own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours and matches.
    Ours,
    /// It has no owner and matches.
    Adopt,
    /// It is ours and matches no more.
    Release,
    /// It is somebody else's, or matches nothing.
    Leave,
}

impl Owner {
    pub(crate) fn of(owners: Option<&Vec<OwnerReference>>) -> Option<Self> {
        let owner = owners?.iter().find(|owner| owner.controller == Some(true))?;
        Some(Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        })
    }
}

/// Decides about an object by its owner, whether the selector matches, and whether either side is being deleted.
pub(crate) fn claim(owner: Option<&Owner>, our_uid: &str, matches: bool, deleting: bool, we_go: bool) -> Claim {
    match owner {
        Some(owner) if owner.uid != our_uid => Claim::Leave,
        Some(_) if matches => Claim::Ours,
        Some(_) if we_go => Claim::Leave,
        Some(_) => Claim::Release,
        None if matches && !deleting && !we_go => Claim::Adopt,
        None => Claim::Leave,
    }
}

/// The reference that makes an object ours.
pub(crate) fn reference(kind: &Kind, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Makes `key` ours, with a finalizer if there is to be one; the uid lets the API refuse if the name means another object
/// by now.
pub(crate) async fn adopt(
    writer: &Writer,
    kind: &Kind,
    key: &ObjectKey,
    uid: &str,
    owner: Value,
    finalizer: Option<&str>,
) -> Result<(), kube::Error> {
    let mut body = json!({ "metadata": { "uid": uid, "ownerReferences": [owner] } });
    if let Some(finalizer) = finalizer {
        body["metadata"]["finalizers"] = json!([finalizer]);
    }
    settled(writer.patch(kind, key, Patch::Strategic, &body).await)
}

/// Gives `key` up.
pub(crate) async fn release(
    writer: &Writer,
    kind: &Kind,
    key: &ObjectKey,
    uid: &str,
    owner_uid: &str,
) -> Result<(), kube::Error> {
    let body = json!({ "metadata": { "uid": uid, "ownerReferences": [{ "$patch": "delete", "uid": owner_uid }] } });
    settled(writer.patch(kind, key, Patch::Strategic, &body).await)
}

fn settled(result: Result<Value, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if client::is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}
