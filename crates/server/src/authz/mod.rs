//! Who may do what: the node authorizer, then RBAC; whoever neither lets through is refused.
//!
//! It decides about attributes, before any body is read; what an object may contain is admission's.

mod attributes;
pub(crate) mod bootstrap;
pub(crate) mod escalation;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod rules;

pub(crate) use attributes::Attributes;
pub(crate) use policy::Policy;

use meta::Status;

use crate::user::MASTERS;

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Yes, and by which rule.
    Allow(String),
    /// Not by this authorizer, and why.
    NoOpinion(String),
}

/// Asks all authorizers.
pub(crate) fn decide(policy: &Policy, pods: &node::Pods, attributes: &Attributes<'_>) -> Decision {
    if attributes.user.is_in(MASTERS) {
        return Decision::Allow(String::new());
    }
    let mut why = String::new();
    if let Some(node) = attributes.user.node() {
        match node::decide(pods, policy, node, attributes) {
            Decision::NoOpinion(reason) => why = reason,
            allow @ Decision::Allow(_) => return allow,
        }
    }
    match policy.decide(attributes) {
        Decision::NoOpinion(reason) if why.is_empty() => Decision::NoOpinion(reason),
        Decision::NoOpinion(_) => Decision::NoOpinion(why),
        allow @ Decision::Allow(_) => allow,
    }
}

/// The refusal of a request, worded as Kubernetes does.
pub(crate) fn forbidden(attributes: &Attributes<'_>, why: &str) -> Status {
    let mut reason = attributes.refusal();
    if !why.is_empty() {
        reason = format!("{reason}: {why}");
    }
    if attributes.path.is_some() {
        return Status::forbidden(&meta::GroupResource::default(), "", &reason);
    }
    let resource = meta::GroupResource::new(attributes.group, attributes.resource);
    Status::forbidden(&resource, attributes.name, &reason)
}
