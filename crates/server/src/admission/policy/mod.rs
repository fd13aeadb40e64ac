//! Admission policies: expressions that judge or change requests, put in while the server runs. Policies and bindings
//! are compiled once a change.

mod access;
mod compiled;
mod mutating;
mod params;
mod validating;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use watch::Scope;

use super::Review;
use super::matching::namespace;
use crate::core::Core;
use crate::object::text;

pub(super) use access::ParamAccess;
use compiled::{Binding, Policy};

const GROUP: &str = "admissionregistration.k8s.io";
const MUTATING: [&str; 2] = ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];
const VALIDATING: [&str; 2] = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
/// The resources whose changes compile anew.
pub(crate) const SOURCES: [&str; 4] = [MUTATING[0], MUTATING[1], VALIDATING[0], VALIDATING[1]];

/// All policies that are bound, in the order of their names.
#[derive(Default)]
pub(crate) struct Policies {
    mutating: ArcSwap<Vec<Arc<Policy>>>,
    validating: ArcSwap<Vec<Arc<Policy>>>,
}

impl Policies {
    /// Compiles what has changed.
    pub(crate) fn compile(&self, core: &Core) {
        for ([policies, bindings], list) in [(MUTATING, &self.mutating), (VALIDATING, &self.validating)] {
            let bindings = objects(core, bindings);
            let before = list.load();
            let compiled = objects(core, policies).into_iter().filter_map(|policy| {
                let name = text(&policy, &["metadata", "name"]);
                let bound = bindings
                    .iter()
                    .filter(|binding| text(binding, &["spec", "policyName"]) == name);
                let bound: Vec<&Value> = bound.collect();
                if bound.is_empty() {
                    return None;
                }
                let revision = text(&policy, &["metadata", "resourceVersion"]);
                let known = before
                    .iter()
                    .find(|known| known.name == name && known.revision == revision);
                let bodies = match known {
                    Some(known) => Arc::clone(&known.body),
                    None => Arc::new(compiled::Body::compile(&policy)),
                };
                Some(Arc::new(Policy {
                    name: name.to_owned(),
                    revision: revision.to_owned(),
                    body: bodies,
                    bindings: bound.into_iter().map(Binding::compile).collect(),
                }))
            });
            list.store(Arc::new(compiled.collect()));
        }
    }
}

fn objects(core: &Core, plural: &str) -> Vec<Value> {
    let Some(kind) = core.kinds.any(GROUP, plural) else {
        return Vec::new();
    };
    let Ok(cache) = kind.cache() else {
        return Vec::new();
    };
    let all = cache.list(&Scope::All);
    all.iter()
        .filter_map(|version| kind.tree(version.bytes(), version.revision()).ok())
        .collect()
}

/// The namespace as expressions see it; none for what is in no namespace, and for namespaces themselves.
async fn namespace_object(review: &Review<'_>) -> Result<Option<Value>, meta::Status> {
    if review.namespace.is_empty() || review.kind.resource.resource == "namespaces" {
        return Ok(None);
    }
    let mut namespace = namespace(review).await?;
    if let Some(metadata) = namespace["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    Ok(Some(namespace))
}
