//! What a write may contain, decided with the object at hand: a chain of plug-ins, first those that change the object,
//! then those that only look at it.

mod certificates;
mod default_toleration_seconds;
mod escalation;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod taint_nodes;

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;

use crate::core::Core;
use crate::kinds::Kind;
use crate::user::User;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// A write under review.
#[derive(Clone, Copy)]
pub(crate) struct Review<'a> {
    pub(crate) core: &'a Core,
    pub(crate) user: &'a User,
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) operation: Operation,
    pub(crate) old: Option<&'a Value>,
}

impl Review<'_> {
    /// Whether it is about a resource itself or this subresource of it.
    pub(crate) fn is(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.kind.resource.group == group && self.kind.resource.resource == resource && self.subresource == subresource
    }

    /// A refusal.
    pub(crate) fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        Status::forbidden(&self.kind.resource, self.name, why)
    }
}

/// One plug-in.
#[async_trait]
pub(crate) trait Plugin: Send + Sync {
    /// Whether it has anything to say about this write.
    fn concerns(&self, review: &Review<'_>) -> bool;

    /// Changes the object.
    async fn mutate(&self, _review: &Review<'_>, _object: &mut Value) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object as it would be stored; none for deletions.
    async fn validate(&self, _review: &Review<'_>, _object: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins in their order.
pub(crate) struct Chain(Vec<Box<dyn Plugin>>);

impl Chain {
    /// All that are built in.
    pub(crate) fn builtin() -> Chain {
        Chain(vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(node_restriction::NodeRestriction),
            Box::new(service_account::ServiceAccount),
            Box::new(taint_nodes::TaintNodes),
            Box::new(priority::Priority),
            Box::new(default_toleration_seconds::DefaultTolerationSeconds),
            Box::new(certificates::Certificates),
            Box::new(escalation::Escalation),
        ])
    }

    pub(crate) async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        for plugin in self.0.iter().filter(|plugin| plugin.concerns(review)) {
            plugin.mutate(review, object).await?;
        }
        Ok(())
    }

    pub(crate) async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        for plugin in self.0.iter().filter(|plugin| plugin.concerns(review)) {
            plugin.validate(review, object).await?;
        }
        Ok(())
    }
}
