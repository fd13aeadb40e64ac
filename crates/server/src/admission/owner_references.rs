//! OwnerReferencesPermissionEnforcement: who makes an object go with another must be allowed to delete it, and who makes
//! an owner wait for it must be allowed to hold the owner.

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::authz::{Attributes, Decision};
use crate::object::text;

pub(crate) struct OwnerReferences;

#[async_trait]
impl Plugin for OwnerReferences {
    fn concerns(&self, review: &Review<'_>) -> bool {
        // A pod's status and binding don't change its owners.
        let fixed = review.is("", "pods", "status") || review.is("", "pods", "binding");
        review.operation != Operation::Delete && !fixed
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let (new, old) = (owners(object), review.old.map(owners).unwrap_or_default());
        if new == old {
            return Ok(());
        }
        if review.operation == Operation::Update {
            let resource = &review.kind.resource;
            let asked = Attributes {
                namespace: review.namespace,
                name: review.name,
                subresource: review.subresource,
                ..Attributes::resource(review.user, "delete", &resource.group, &resource.resource)
            };
            if let Decision::NoOpinion(why) = review.core.decide(&asked) {
                return Err(review.forbidden(format!(
                    "cannot set an ownerRef on a resource you can't delete: {why}, <nil>"
                )));
            }
        }
        let blocks = |owner: &Value| owner["blockOwnerDeletion"] == true;
        let blocked = |owner: &Value| old.iter().any(|known| known["uid"] == owner["uid"] && blocks(known));
        for owner in new.iter().filter(|owner| blocks(owner) && !blocked(owner)) {
            may_hold(review, owner)?;
        }
        Ok(())
    }
}

fn owners(object: &Value) -> Vec<Value> {
    let list = object["metadata"]["ownerReferences"].as_array();
    list.cloned().unwrap_or_default()
}

fn may_hold(review: &Review<'_>, owner: &Value) -> Result<(), Status> {
    let (api_version, kind) = (text(owner, &["apiVersion"]), text(owner, &["kind"]));
    let served = review.core.kinds.now();
    let found: Vec<_> = served
        .all()
        .iter()
        .filter(|known| known.api_version == api_version && *known.row.kind == *kind)
        .collect();
    if found.is_empty() {
        return Err(review.forbidden(format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} Kind \
             {kind}: no matches for kind {kind:?} in version {api_version:?}"
        )));
    }
    for known in found {
        let asked = Attributes {
            namespace: if known.row.namespaced { review.namespace } else { "" },
            name: text(owner, &["name"]),
            subresource: "finalizers",
            ..Attributes::resource(review.user, "update", &known.resource.group, &known.resource.resource)
        };
        if let Decision::NoOpinion(why) = review.core.decide(&asked) {
            return Err(review.forbidden(format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: \
                 {why}, <nil>"
            )));
        }
    }
    Ok(())
}
