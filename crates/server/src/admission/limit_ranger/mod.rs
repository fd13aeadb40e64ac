//! LimitRanger: in a namespace with limit ranges, containers get the requests and limits that they leave out, and pods
//! and claims must keep within the ranges.

mod check;
mod default;

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;
use watch::Scope;

use super::{Operation, Plugin, Review};
use crate::object;

const PODS: &str = "pods";
const CLAIMS: &str = "persistentvolumeclaims";

pub(crate) struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    /// What a pod's containers are can't change but by a resize.
    fn concerns(&self, review: &Review<'_>) -> bool {
        if review.old.is_some_and(object::is_deleting) {
            return false;
        }
        match review.operation {
            Operation::Create => review.is("", PODS, "") || review.is("", CLAIMS, ""),
            Operation::Update => review.is("", PODS, "resize") || review.is("", CLAIMS, ""),
            _ => false,
        }
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        if review.kind.resource.resource == PODS {
            for range in ranges(review)? {
                default::fill_in(&range, object);
            }
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        for range in ranges(review)? {
            let broken = match review.kind.resource.resource.as_str() {
                PODS => check::pod(&range, object),
                _ => check::claim(&range, object),
            };
            if !broken.is_empty() {
                return Err(review.forbidden(aggregate(broken)));
            }
        }
        Ok(())
    }
}

fn ranges(review: &Review<'_>) -> Result<Vec<Value>, Status> {
    let scope = Scope::namespace(review.namespace);
    review.core.cached_trees("", "limitranges", &scope)
}

/// Several errors as one text.
fn aggregate(errors: Vec<String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for error in errors {
        if !all.contains(&error) {
            all.push(error);
        }
    }
    match all.as_slice() {
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    }
}
