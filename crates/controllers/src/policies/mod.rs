//! Says of ValidatingAdmissionPolicies what looks wrong in their expressions, once it is known of which types their
//! objects and parameters are. The types of built-in kinds are compiled in, as in Kubernetes; those of others it reads
//! from the OpenAPI documents of the API, and which resource is of which kind from discovery, all under its own identity.

mod plan;

use std::time::Duration;

use api::type_check::{self, Served, Shape};
use client::{Change, ObjectKey};
use meta::GroupVersionKind;
use reconcile::{Next, Queue, Reconciler};
use serde_json::Value;

use crate::discover;
use crate::world::{Definition, POLICIES_BY_NAMED, World};
use crate::write::{Kind, Writer};

pub(crate) use plan::named;

/// Owns what it says.
const MANAGER: &str = "validatingadmissionpolicy-status";
/// By then the documents show what a definition says.
const PUBLISHED: Duration = Duration::from_secs(1);

/// The controller; keys are policies.
pub(crate) struct Controller {
    writer: Writer,
    policy: Kind,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue: Queue<ObjectKey> = Queue::default();
        let keys = queue.clone();
        world.policies.subscribe(move |change| keys.add(change.key.clone()));
        let (keys, policies) = (queue.clone(), world.policies.clone());
        // Policies are looked at when a definition of a resource that they name comes, changes or goes.
        world.definitions.subscribe(move |change: &Change<Definition>| {
            for definition in change.before.iter().chain(&change.after) {
                let values = plan::names_of(definition);
                for policy in values.iter().flat_map(|value| policies.by(POLICIES_BY_NAMED, value)) {
                    keys.add(policy.key.clone());
                    keys.add_after(policy.key.clone(), PUBLISHED);
                }
            }
        });
        let controller = Self {
            writer,
            policy: Kind::new(
                "admissionregistration.k8s.io/v1",
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
            ),
        };
        (controller, queue)
    }

    /// What a policy's status should say.
    async fn status(&self, policy: &Value) -> Result<Value, kube::Error> {
        let served: Vec<Served> = discover::aggregated(&self.writer).await?;
        let mut shapes = Vec::new();
        for (index, kind) in type_check::kinds(policy, &served).into_iter().enumerate() {
            if let Some(shape) = self.shape(&kind, index + 1).await? {
                shapes.push((kind, shape));
            }
        }
        let params = match type_check::params(policy) {
            Some(kind) => Some(self.shape(&kind, 0).await?),
            None => None,
        };
        let warnings = type_check::check(policy, &shapes, params.as_ref().map(Option::as_ref));
        Ok(plan::status(policy, &warnings))
    }

    /// What is known of a kind; none when nothing can be known now.
    async fn shape(&self, kind: &GroupVersionKind, number: usize) -> Result<Option<Shape>, kube::Error> {
        if let Some(shape) = Shape::builtin(kind, number) {
            return Ok(Some(shape));
        }
        match self.writer.get(&type_check::document_path(kind)).await {
            Ok(document) => Ok(Shape::published(&document, kind, number)),
            Err(error @ kube::Error::Api(_)) => {
                tracing::debug!(%error, ?kind, "no schema");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "validatingadmissionpolicy-status"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let path = format!("{}/{}", self.policy.path(None), key.name);
        let policy = match self.writer.get(&path).await {
            Err(error) if client::is_not_found(&error) => return Ok(Next::Change),
            other => other?,
        };
        // Applying an empty object where warnings were takes it away with them, as in Kubernetes; the next look, which that
        // change brings, puts it back.
        let status = self.status(&policy).await?;
        if plan::says(&policy, &status) {
            return Ok(Next::Change);
        }
        let body = plan::body(&policy, status);
        let applied = self.writer.apply_sub(&self.policy, key, "status", MANAGER, &body).await;
        match applied {
            // It went meanwhile.
            Err(error) if client::is_not_found(&error) => Ok(Next::Change),
            other => other.map(|_| Next::Change),
        }
    }
}
