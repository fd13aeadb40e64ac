//! What objects use of a quota: by their kind, how many of what, and whether a quota is about them at all. Pure: it is
//! given objects and quotas as trees; who charges and who recounts both ask here, so that they can't disagree.

mod amounts;
mod charge;
mod claim;
mod footprint;
mod pod;
mod scope;
mod service;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use meta::{Format, Quantity};
use serde_json::Value;

pub use amounts::Amounts;
pub use charge::{Request, charge};
pub use footprint::{List, specified};
pub use pod::{is_extended, overdue_at};

use crate::rules::view::View as _;

/// Questions that are answered and not stored, and events: no quota is about them.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// Resources that are counted under their bare names too.
const BARE: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// Knows how the objects of one resource count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluator {
    /// Pods: what they request and may reach.
    Pods,
    /// Services: node ports and balancers.
    Services,
    /// PersistentVolumeClaims: storage, also by class.
    VolumeClaims,
    /// ResourceClaims: devices by class.
    DeviceClaims,
    /// Everything else: the objects are counted, under these names.
    Count(Vec<String>),
}

impl Evaluator {
    /// The one for a resource; none when no quota is about it.
    pub fn of(group: &str, resource: &str) -> Option<Evaluator> {
        if IGNORED.contains(&(group, resource)) {
            return None;
        }
        Some(match (group, resource) {
            ("", "pods") => Evaluator::Pods,
            ("", "services") => Evaluator::Services,
            ("", "persistentvolumeclaims") => Evaluator::VolumeClaims,
            ("resource.k8s.io", "resourceclaims") => Evaluator::DeviceClaims,
            ("", bare) if BARE.contains(&bare) => Evaluator::Count(vec![format!("count/{bare}"), bare.to_owned()]),
            ("", plain) => Evaluator::Count(vec![format!("count/{plain}")]),
            _ => Evaluator::Count(vec![format!("count/{resource}.{group}")]),
        })
    }

    /// The resource that a limit in a quota is about, as group and plural; none for a name that nothing counts under.
    pub fn counted(name: &str) -> Option<(&str, &str)> {
        if let Some(rest) = name.strip_prefix("count/") {
            let (resource, group) = rest.split_once('.').unwrap_or((rest, ""));
            return Some((group, resource)).filter(|found| !IGNORED.contains(found));
        }
        [
            (Evaluator::Pods, ("", "pods")),
            (Evaluator::Services, ("", "services")),
            (Evaluator::VolumeClaims, ("", "persistentvolumeclaims")),
            (Evaluator::DeviceClaims, ("resource.k8s.io", "resourceclaims")),
        ]
        .into_iter()
        .find(|(evaluator, _)| evaluator.counts(name))
        .map(|(_, resource)| resource)
        .or_else(|| BARE.iter().find(|bare| **bare == name).map(|bare| ("", *bare)))
    }

    /// Whether a limit of this name is about the resource.
    pub fn counts(&self, name: &str) -> bool {
        match self {
            Evaluator::Pods => pod::counts(name),
            Evaluator::Services => service::NAMES.contains(&name),
            Evaluator::VolumeClaims => claim::counts_volumes(name),
            Evaluator::DeviceClaims => claim::counts_devices(name),
            Evaluator::Count(names) => names.iter().any(|known| known == name),
        }
    }

    /// Whether a quota with these limits is about this object, by what it limits and by its scopes.
    pub fn covers(&self, quota: &Value, hard: &Amounts, object: &Value) -> bool {
        hard.names().any(|name| self.counts(name))
            && scope::all_hold(quota, |scope, operator, values| match self {
                Evaluator::Pods => pod::is_in(object, scope, operator, values),
                Evaluator::VolumeClaims => claim::is_in(object, scope, operator, values),
                _ => false,
            })
    }

    /// What an object uses.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        match self {
            Evaluator::Pods => pod::usage(object, now),
            Evaluator::Services => service::usage(object),
            Evaluator::VolumeClaims => claim::volumes(object),
            Evaluator::DeviceClaims => claim::devices(object),
            Evaluator::Count(names) => {
                let mut used = Amounts::default();
                for name in names {
                    used.set(name, Quantity::from_units(1, Format::DecimalSi));
                }
                used
            }
        }
    }

    /// Whether how much an object uses depends on the object.
    pub fn looks_at_objects(&self) -> bool {
        !matches!(self, Evaluator::Count(_))
    }

    /// Whether a write could use more than before.
    pub fn handles(&self, request: &Request<'_>) -> bool {
        let (creating, object) = (request.old.is_none(), request.object);
        match (self, request.subresource) {
            (Evaluator::Pods, "") => {
                creating
                    || request
                        .old
                        .is_some_and(|old| pod::is_terminating(old) != pod::is_terminating(object))
            }
            (Evaluator::Pods, "resize") => !creating,
            (Evaluator::VolumeClaims, "" | "status") => true,
            (Evaluator::Services | Evaluator::DeviceClaims, "") => true,
            (Evaluator::Count(_), "") => creating,
            _ => false,
        }
    }

    fn constraints(&self, object: &Value, limited: &[&str]) -> Result<(), String> {
        match self {
            Evaluator::Pods => pod::constraints(object, limited),
            _ => Ok(()),
        }
    }
}

/// The limits in force.
pub fn hard(quota: &Value) -> Amounts {
    Amounts::read(quota.at("status").at("hard"))
}

/// What is used by the quota's own account.
pub fn used(quota: &Value) -> Amounts {
    Amounts::read(quota.at("status").at("used"))
}
