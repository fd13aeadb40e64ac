//! DefaultStorageClass and DefaultIngressClass: claims and ingresses that name no class get the one that is marked as the
//! default; of several the newest.

use std::cmp::Reverse;

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;
use watch::Scope;

use super::{Operation, Plugin, Review};
use crate::object::{self, text};

const STORAGE: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const INGRESS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

/// Which classes.
pub(crate) enum DefaultClass {
    /// Of storage, for claims.
    Storage,
    /// Of ingresses.
    Ingress,
}

#[async_trait]
impl Plugin for DefaultClass {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create
            && match self {
                DefaultClass::Storage => review.is("", "persistentvolumeclaims", ""),
                DefaultClass::Ingress => review.is("networking.k8s.io", "ingresses", ""),
            }
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let (group, plural, marks, annotation, field): (_, _, &[&str], _, _) = match self {
            DefaultClass::Storage => (
                "storage.k8s.io",
                "storageclasses",
                &STORAGE,
                "volume.beta.kubernetes.io/storage-class",
                "storageClassName",
            ),
            DefaultClass::Ingress => (
                "networking.k8s.io",
                "ingressclasses",
                &INGRESS,
                "kubernetes.io/ingress.class",
                "ingressClassName",
            ),
        };
        let named = object["metadata"]["annotations"].get(annotation).is_some()
            || object["spec"].get(field).is_some_and(|class| !class.is_null());
        if named {
            return Ok(());
        }
        let mut classes = review.core.cached_trees(group, plural, &Scope::All)?;
        classes.retain(|class| {
            let is_marked = |mark: &&str| class["metadata"]["annotations"][*mark] == "true";
            marks.iter().any(is_marked)
        });
        let age = |class: &Value| {
            let created = text(class, &["metadata", "creationTimestamp"]).to_owned();
            (Reverse(created), object::name(class).to_owned())
        };
        if let Some(class) = classes.iter().min_by_key(|class| age(class)) {
            object["spec"][field] = object::name(class).into();
        }
        Ok(())
    }
}
