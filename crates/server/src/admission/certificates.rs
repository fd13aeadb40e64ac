//! Certificate requests: who may approve and sign for which signer, and no request for the masters' group.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::{FieldError, Path, Status};
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::authz::{Attributes, Decision};
use crate::object;
use crate::user::MASTERS;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const POD_REQUESTS: &str = "podcertificaterequests";
const BUNDLES: &str = "clustertrustbundles";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// What is looked at.
pub(crate) enum Certificates {
    /// Who approves.
    Approval,
    /// Who signs.
    Signing,
    /// Who says which authorities a signer has.
    Attest,
    /// For whom a certificate is asked.
    Subject,
}

#[async_trait]
impl Plugin for Certificates {
    fn concerns(&self, review: &Review<'_>) -> bool {
        match (self, review.operation) {
            (Certificates::Subject, Operation::Create) => review.is(GROUP, REQUESTS, ""),
            (Certificates::Approval, Operation::Update) => review.is(GROUP, REQUESTS, "approval"),
            (Certificates::Signing, Operation::Update) => {
                review.is(GROUP, REQUESTS, "status") || review.is(GROUP, POD_REQUESTS, "status")
            }
            (Certificates::Attest, Operation::Create | Operation::Update) => review.is(GROUP, BUNDLES, ""),
            _ => false,
        }
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let signer = object::text(object, &["spec", "signerName"]);
        match review.subresource {
            _ if review.is(GROUP, BUNDLES, "") => attest(review, signer, object),
            _ if review.is(GROUP, POD_REQUESTS, "status") => sign_for_pod(review, signer, object),
            "approval" => may(review, signer, "approve"),
            "status" => {
                let certificate = |object: &Value| object.pointer("/status/certificate").cloned();
                if review.old.and_then(certificate) == certificate(object) {
                    return Ok(());
                }
                may(review, signer, "sign")
            }
            _ if signer == CLIENT_SIGNER && asks_for_masters(object) => Err(review.forbidden(format!(
                "use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
            ))),
            _ => Ok(()),
        }
    }
}

/// A signer's authorities are told by who may attest for it. A change of nothing but owners and finalizers tells nothing.
fn attest(review: &Review<'_>, signer: &str, bundle: &Value) -> Result<(), Status> {
    let bare = |bundle: &Value| {
        let mut bundle = bundle.clone();
        for name in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            if let Some(metadata) = bundle["metadata"].as_object_mut() {
                metadata.remove(name);
            }
        }
        bundle
    };
    let same = review.old.is_some_and(|old| bare(old) == bare(bundle));
    if signer.is_empty() || same || has(review, signer, "attest") {
        return Ok(());
    }
    Err(review.forbidden(format!("user not permitted to attest for signerName {signer:?}")))
}

/// Whoever may not sign can't answer a pod's request, which is an error of the object.
fn sign_for_pod(review: &Review<'_>, signer: &str, request: &Value) -> Result<(), Status> {
    let status = |object: &Value| object.get("status").cloned();
    if review.old.and_then(status) == status(request) || has(review, signer, "sign") {
        return Ok(());
    }
    let user = &review.user.name;
    let detail = format!("User {user:?} is not permitted to \"sign\" for signer {signer:?}");
    let error = FieldError::forbidden(Path::new("spec.signerName"), &detail);
    Err(Status::invalid(&review.kind.group_kind, review.name, &[error]))
}

/// Whether the user has the verb on the signer, or on all signers of its domain.
fn may(review: &Review<'_>, signer: &str, verb: &str) -> Result<(), Status> {
    if has(review, signer, verb) {
        return Ok(());
    }
    Err(review.forbidden(format!(
        "user not permitted to {verb} requests with signerName {signer:?}"
    )))
}

fn has(review: &Review<'_>, signer: &str, verb: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let asked = Attributes {
            name: &name,
            ..Attributes::resource(review.user, verb, GROUP, "signers")
        };
        if matches!(review.core.decide(&asked), Decision::Allow(_)) {
            return true;
        }
    }
    false
}

fn asks_for_masters(object: &Value) -> bool {
    let Ok(pem) = STANDARD.decode(object::text(object, &["spec", "request"])) else {
        return false;
    };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else {
        return false;
    };
    let Ok((_, request)) =
        <x509_parser::certification_request::X509CertificationRequest<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(
            &pem.contents,
        )
    else {
        return false;
    };
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().any(|group| group.as_str() == Ok(MASTERS))
}
