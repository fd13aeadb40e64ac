//! StorageObjectInUseProtection and PersistentVolumeClaimResize: what is in use isn't deleted, and claims only grow where
//! their class can make them grow.

use api::quota::Amounts;
use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::object::{self, text};

/// Puts finalizers on claims, volumes and their attributes' classes; controllers take them off when nobody uses them.
pub(crate) struct InUseProtection;

/// Looks at claims that ask for more.
pub(crate) struct ClaimResize;

fn finalizer(review: &Review<'_>) -> Option<&'static str> {
    let is = |group, plural| review.is(group, plural, "");
    [
        ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
        ("", "persistentvolumes", "kubernetes.io/pv-protection"),
        (
            "storage.k8s.io",
            "volumeattributesclasses",
            "kubernetes.io/vac-protection",
        ),
    ]
    .into_iter()
    .find(|(group, plural, _)| is(group, plural))
    .map(|(.., finalizer)| finalizer)
}

#[async_trait]
impl Plugin for InUseProtection {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create && finalizer(review).is_some()
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(finalizer) = finalizer(review) else {
            return Ok(());
        };
        let mut all = object::finalizers(object);
        if !all.iter().any(|known| known == finalizer) {
            all.push(finalizer.to_owned());
            object["metadata"]["finalizers"] = json!(all);
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for ClaimResize {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Update && review.is("", "persistentvolumeclaims", "")
    }

    async fn validate(&self, review: &Review<'_>, claim: Option<&Value>) -> Result<(), Status> {
        let (Some(claim), Some(old)) = (claim, review.old) else {
            return Ok(());
        };
        let size = |claim: &Value| Amounts::read(&claim["spec"]["resources"]["requests"]).get("storage");
        if size(claim).unwrap_or_default() <= size(old).unwrap_or_default() {
            return Ok(());
        }
        if text(old, &["status", "phase"]) != "Bound" {
            return Err(review.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let class = class(claim);
        let may_grow = !class.is_empty() && class == self::class(old) && {
            let key = ObjectKey::cluster(class);
            let class = review.core.cached_tree("storage.k8s.io", "storageclasses", &key);
            class.is_some_and(|class| class["allowVolumeExpansion"] == true)
        };
        if may_grow {
            return Ok(());
        }
        Err(review.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize",
        ))
    }
}

fn class(claim: &Value) -> &str {
    let annotation = claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class");
    match annotation.and_then(Value::as_str) {
        Some(class) => class,
        None => text(claim, &["spec", "storageClassName"]),
    }
}
