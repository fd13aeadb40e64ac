//! Certificate requests: who may approve and sign for which signer, and no request for the masters' group.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::Status;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::authz::{Attributes, Decision};
use crate::object;
use crate::user::MASTERS;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// What is looked at.
pub(crate) enum Certificates {
    /// Who approves.
    Approval,
    /// Who signs.
    Signing,
    /// For whom a certificate is asked.
    Subject,
}

#[async_trait]
impl Plugin for Certificates {
    fn concerns(&self, review: &Review<'_>) -> bool {
        match (self, review.operation) {
            (Certificates::Subject, Operation::Create) => review.is(GROUP, REQUESTS, ""),
            (Certificates::Approval, Operation::Update) => review.is(GROUP, REQUESTS, "approval"),
            (Certificates::Signing, Operation::Update) => review.is(GROUP, REQUESTS, "status"),
            _ => false,
        }
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let signer = object::text(object, &["spec", "signerName"]);
        match review.subresource {
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

/// Whether the user has the verb on the signer, or on all signers of its domain.
fn may(review: &Review<'_>, signer: &str, verb: &str) -> Result<(), Status> {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let asked = Attributes {
            name: &name,
            ..Attributes::resource(review.user, verb, GROUP, "signers")
        };
        if matches!(review.core.decide(&asked), Decision::Allow(_)) {
            return Ok(());
        }
    }
    Err(review.forbidden(format!(
        "user not permitted to {verb} requests with signerName {signer:?}"
    )))
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
