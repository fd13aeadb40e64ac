//! Nothing is created in a namespace that isn't there or is going away, and the first namespaces stay.

use async_trait::async_trait;
use meta::{GroupResource, ObjectKey, Status};
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::object;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(crate) struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn concerns(&self, review: &Review<'_>) -> bool {
        let namespaces = review.is("", "namespaces", "");
        match review.operation {
            Operation::Delete => namespaces,
            Operation::Create | Operation::Update => !namespaces && !review.namespace.is_empty(),
            Operation::Connect => false,
        }
    }

    async fn mutate(&self, review: &Review<'_>, _object: &mut Value) -> Result<(), Status> {
        let key = ObjectKey::cluster(review.namespace);
        let namespace = match review.core.cached_tree("", "namespaces", &key) {
            Some(namespace) => Some(namespace),
            // It may have been made a moment ago.
            None => review.core.fresh_tree("", "namespaces", &key).await?,
        };
        let Some(namespace) = namespace else {
            return Err(Status::not_found(
                &GroupResource::new("", "namespaces"),
                review.namespace,
            ));
        };
        if review.operation != Operation::Create || !object::is_deleting(&namespace) {
            return Ok(());
        }
        let name = review.namespace;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let text = format!("namespace {name} is being terminated");
        Err(review
            .forbidden(why)
            .with_cause("NamespaceTerminating", text, "metadata.namespace"))
    }

    async fn validate(&self, review: &Review<'_>, _object: Option<&Value>) -> Result<(), Status> {
        if review.operation == Operation::Delete && IMMORTAL.contains(&review.name) {
            return Err(review.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}
