//! Grants nodes' certificate requests, after asking the API whether the requester may have them, and signs them.

mod plan;
mod sign;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::ObjectKey;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use crate::SigningKey;
use crate::world::{SigningRequest, World};
use crate::write::{Kind, Patch, Writer};

use self::plan::Decision;

/// The controller of certificate requests.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    kind: Kind,
    key: SigningKey,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer, key: SigningKey) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let keys = queue.clone();
        world.requests.subscribe(move |change| {
            if change
                .after
                .as_ref()
                .is_some_and(|request| !request.signed && !request.denied && !request.failed)
            {
                keys.add(change.key.clone());
            }
        });
        // A node that reports its addresses may now have what it asked for before.
        let (keys, requests) = (queue.clone(), world.requests.clone());
        world.nodes.subscribe(move |change| {
            let Some(node) = &change.after else { return };
            if change
                .before
                .as_ref()
                .is_some_and(|before| before.addresses == node.addresses)
            {
                return;
            }
            let user = format!("system:node:{}", node.name);
            let waiting = requests
                .list()
                .into_iter()
                .filter(|request| request.username == user && !request.approved);
            waiting.for_each(|request| keys.add(request.key.clone()));
        });
        let kind = Kind::new(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
        );
        (
            Self {
                world: world.clone(),
                writer,
                kind,
                key,
            },
            queue,
        )
    }

    async fn approve(&self, request: &SigningRequest) -> Result<(), kube::Error> {
        let asked = match sign::read(&request.request) {
            Ok(asked) => asked,
            Err(error) => {
                tracing::debug!(request = %request.key, %error, "left to a human");
                return Ok(());
            }
        };
        let node = asked.common_name.strip_prefix("system:node:").unwrap_or_default();
        let node = self.world.nodes.get(&ObjectKey::cluster(node));
        let decision = plan::decide(request, &asked, node.as_ref().map(|node| node.addresses.as_slice()));
        let subresource = match decision {
            Decision::Later | Decision::Leave => return Ok(()),
            Decision::OwnClient => Some("selfnodeclient"),
            Decision::FirstClient => Some("nodeclient"),
            Decision::Serving => None,
        };
        if let Some(subresource) = subresource
            && !self.may(request, subresource).await?
        {
            return Ok(());
        }
        let message = match decision {
            Decision::OwnClient => "Auto approving self kubelet client certificate after SubjectAccessReview.",
            Decision::FirstClient => "Auto approving kubelet client certificate after SubjectAccessReview.",
            _ => "Auto approving kubelet serving certificate for the node's own addresses.",
        };
        let now = meta::time::now();
        let condition = json!({
            "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message,
            "lastUpdateTime": now, "lastTransitionTime": now,
        });
        let body = json!({ "status": { "conditions": [condition] } });
        self.writer
            .patch_sub(&self.kind, &request.key, "approval", Patch::Strategic, &body)
            .await
            .map(drop)
    }

    /// Whether the requester may create such requests.
    async fn may(&self, request: &SigningRequest, subresource: &str) -> Result<bool, kube::Error> {
        let kind = Kind::new("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews");
        let body = json!({
            "apiVersion": kind.api_version, "kind": kind.kind,
            "spec": {
                "user": request.username, "groups": request.groups,
                "resourceAttributes": {
                    "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                    "subresource": subresource, "version": "*",
                },
            },
        });
        let answer: Value = self.writer.create(&kind, None, &body).await?;
        Ok(answer["status"]["allowed"].as_bool().unwrap_or(false))
    }

    async fn sign(&self, request: &SigningRequest) -> Result<(), kube::Error> {
        let status = match sign::sign(&request.request, &request.signer, request.seconds, &self.key) {
            Ok(certificate) => json!({ "certificate": STANDARD.encode(certificate) }),
            Err(error) => {
                let now = meta::time::now();
                json!({ "conditions": [{
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                    "message": error.to_string(), "lastUpdateTime": now, "lastTransitionTime": now,
                }] })
            }
        };
        let body = json!({ "status": status });
        self.writer
            .patch_sub(&self.kind, &request.key, "status", Patch::Strategic, &body)
            .await
            .map(drop)
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "certificate"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(request) = self.world.requests.get(key) else {
            return Ok(Next::Change);
        };
        if request.signed || request.denied || request.failed {
            return Ok(Next::Change);
        }
        if ![plan::CLIENT, plan::SERVING].contains(&request.signer.as_str()) {
            return Ok(Next::Change);
        }
        if request.approved {
            self.sign(&request).await?
        } else {
            self.approve(&request).await?
        }
        Ok(Next::Change)
    }
}
