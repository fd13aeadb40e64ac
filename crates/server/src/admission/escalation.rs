//! Roles and bindings pass only if their author has what they grant.

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::authz::escalation;

pub(crate) struct Escalation;

#[async_trait]
impl Plugin for Escalation {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.kind.resource.group == "rbac.authorization.k8s.io"
            && matches!(review.operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let (policy, resource) = (review.core.policy(), &review.kind.resource.resource);
        escalation::check(&policy, review.core.pods(), review.user, resource, object, review.old)
    }
}
