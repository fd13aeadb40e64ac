//! PodCertificateRequests: a node asks for a certificate for one of its pods, a signer answers in the status.

use jiff::{SignedDuration, Timestamp};
use meta::{FieldError, Path};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::check::{Errors, IMMUTABLE};
use super::column::{self, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, base64, conditions, form, metadata, signing_request, strategy};

/// The rules of `certificates.k8s.io` `podcertificaterequests`.
pub(crate) struct PodCertificateRequest;

/// The three ways in which a request ends.
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];
const LEAST_SECONDS: i64 = 3600;
const MOST_SECONDS: i64 = 91 * 86_400;
/// The most that Kubernetes' own signers give.
const MOST_KUBERNETES_SECONDS: i64 = 86_400;
const LONGEST_ANNOTATIONS: usize = 256 << 10;
const LONGEST_REQUEST: usize = 10 << 10;
const LONGEST_CHAIN: usize = 100 << 10;

impl Rules for PodCertificateRequest {
    fn default(&self, object: &mut Value) {
        object
            .object("spec")
            .or("maxExpirationSeconds", MOST_KUBERNETES_SECONDS);
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::drop_status(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        strategy::keep_metadata(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        if !same(object.at("spec"), old.at("spec")) {
            errors.invalid(&Path::new("spec"), object.at("spec").clone(), IMMUTABLE);
        }
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        if errors.0.is_empty() {
            status(object, old.at("status"), &mut errors);
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn selectable(&self) -> &'static [&'static str] {
        &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.podName",
            "spec.signerName",
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("PodName", "The pod that the certificate is for."),
            text("ServiceAccountName", "The pod's account."),
            text("NodeName", "The pod's node."),
            text("SignerName", "Who is asked to sign."),
            text("State", "What was decided."),
            text("UnverifiedUserAnnotations", "What the pod tells the signer."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let kinds = object.at("status").list("conditions").iter();
        let mut kinds = kinds.map(|condition| condition.text("type"));
        let state = kinds.rfind(|kind| ENDS.contains(kind));
        let mut cells = vec![column::name(object)];
        for name in ["podName", "serviceAccountName", "nodeName", "signerName"] {
            cells.push(spec.text(name).into());
        }
        cells.push(state.unwrap_or("Pending").into());
        cells.push(column::labels(spec.at("unverifiedUserAnnotations")).into());
        cells
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let signer = spec.text("signerName");
    signing_request::signer_name(signer, &at.child("signerName"), errors);
    let notes = at.child("unverifiedUserAnnotations");
    user_annotations(spec.at("unverifiedUserAnnotations"), &notes, errors);
    let names = [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ];
    for (name, uid) in names {
        errors.form(&at.child(name), spec.text(name), form::dns_subdomain);
        let (uid, at) = (spec.text(uid), at.child(uid));
        if uid.is_empty() {
            errors.invalid(&at, uid, "must not be empty");
        }
        if uid.len() > 128 {
            errors.too_long(&at, 128);
        }
    }
    let at_seconds = at.child("maxExpirationSeconds");
    let Some(seconds) = spec.int("maxExpirationSeconds") else {
        errors.required(&at_seconds, "must be set");
        return;
    };
    let domain = signer.split('/').next().unwrap_or_default();
    let of_kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let most = if of_kubernetes {
        MOST_KUBERNETES_SECONDS
    } else {
        MOST_SECONDS
    };
    if !(LEAST_SECONDS..=most).contains(&seconds) {
        let detail = format!("must be in the range [{LEAST_SECONDS}, {most}]");
        errors.invalid(&at_seconds, seconds, &detail);
    }
    if spec.lacks("stubPKCS10Request") {
        let detail = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
        errors.malformed(&at, detail);
        return;
    }
    request(spec.text("stubPKCS10Request"), &at.child("stubPKCS10Request"), errors);
}

/// Annotations for the signer: each key has a domain.
fn user_annotations(annotations: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let key = key.to_lowercase();
        size += key.len() + value.as_str().map_or(0, str::len);
        let wrong = form::qualified_name(&key);
        if key.is_empty() {
            errors.required(at, "");
        } else if !wrong.is_empty() {
            errors.invalid_each(at, &key, wrong);
        } else if !key.contains('/') {
            let detail = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.invalid(at, key, detail);
        }
    }
    if size > LONGEST_ANNOTATIONS {
        errors.too_long(at, LONGEST_ANNOTATIONS);
    }
}

/// An empty request whose key is the pod's. Who signs checks that it is signed by that key.
fn request(encoded: &str, at: &Path<'_>, errors: &mut Errors) {
    if base64::decoded_len(encoded) > LONGEST_REQUEST {
        errors.too_long(at, LONGEST_REQUEST);
        return;
    }
    let der = base64::decode(encoded).unwrap_or_default();
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        errors.malformed(at, "must be a valid PKCS#10 CSR");
        return;
    };
    match key(&request.certification_request_info.subject_pki) {
        Ok(()) => {}
        Err((Value::Null, detail)) => errors.malformed(at, detail),
        Err((value, detail)) => errors.invalid(at, value, detail),
    }
}

/// Ed25519, the usual curves, and long RSA keys are good.
fn key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), (Value, &'static str)> {
    const ED25519: &str = "1.3.101.112";
    if key.algorithm.algorithm.to_id_string() == ED25519 {
        return Ok(());
    }
    match key.parsed() {
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384 | 528) => Ok(()),
        Ok(PublicKey::EC(point)) => Err((
            format!("curve P-{}", point.key_size()).into(),
            "elliptic public keys must use curve P256, P384, or P521",
        )),
        Ok(PublicKey::RSA(modulus)) if matches!(modulus.key_size(), 3072 | 4096) => Ok(()),
        Ok(PublicKey::RSA(modulus)) => Err((
            format!("{}-bit modulus", modulus.key_size()).into(),
            "RSA keys must have modulus size 3072 or 4096",
        )),
        _ => Err((
            Value::Null,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        )),
    }
}

fn has_ended(status: &Value, ends: &[&str]) -> bool {
    let conditions = status.list("conditions").iter();
    let mut true_ones = conditions.filter(|condition| condition.text("status") == "True");
    true_ones.any(|condition| ends.contains(&condition.text("type")))
}

fn status(object: &Value, old: &Value, errors: &mut Errors) {
    let (status, at) = (object.at("status"), Path::new("status"));
    let (list, at_list) = (status.list("conditions"), at.child("conditions"));
    let mut known = 0;
    for (index, condition) in list.iter().enumerate() {
        // Kubernetes writes the place as if it was a name.
        let place = format!("[{index}]");
        let (kind, at) = (condition.text("type"), at_list.child(&place));
        if !ENDS.contains(&kind) {
            errors.not_supported(&at.child("type"), kind, &ENDS);
            continue;
        }
        known += 1;
        if known > 1 {
            let detail = r#"There may be at most one condition with type "Issued", "Denied", or "Failed""#;
            errors.invalid(&at.child("type"), kind, detail);
        }
        errors.one_of(&at.child("status"), condition.text("status"), &["True"]);
    }
    conditions::check(list, &at_list, errors);
    if !errors.0.is_empty() {
        return;
    }
    let mut unlike = |expected: &Value, detail: &str| {
        if !same(status, expected) {
            errors.malformed(&at, detail);
        }
    };
    if has_ended(old, &ENDS) {
        unlike(
            old,
            "immutable after PodCertificateRequest is issued, denied, or failed",
        );
    } else if has_ended(status, &["Denied", "Failed"]) {
        let detail = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
        unlike(&json!({"conditions": list}), detail);
    } else if has_ended(status, &["Issued"]) {
        issued(object, errors);
    } else {
        let detail = r#"status is immutable unless transitioning to "Issued", "Denied", or "Failed""#;
        unlike(old, detail);
    }
}

/// What a signer gave: certificates, the first of them for the pod's key, and when it is good.
fn issued(object: &Value, errors: &mut Errors) {
    let (status, at) = (object.at("status"), Path::new("status.certificateChain"));
    let chain = status.text("certificateChain");
    if chain.len() > LONGEST_CHAIN {
        errors.too_long(&at, LONGEST_CHAIN);
        return;
    }
    let blocks: Vec<Pem> = Pem::iter_from_buffer(chain.as_bytes()).flatten().collect();
    let Some((leaf, others)) = blocks.split_first() else {
        let detail = "issued certificate chain must contain at least one certificate";
        errors.invalid(&at, chain, detail);
        return;
    };
    if blocks.iter().any(|block| block.label != "CERTIFICATE") {
        let detail = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks";
        errors.invalid(&at, chain, detail);
        return;
    }
    let Ok(leaf) = leaf.parse_x509() else {
        errors.invalid(&at, chain, "leaf certificate does not parse as valid X.509");
        return;
    };
    let der = base64::decode(object.at("spec").text("stubPKCS10Request")).unwrap_or_default();
    let wanted = X509CertificationRequest::from_der(&der);
    if !wanted.is_ok_and(|(_, wanted)| wanted.certification_request_info.subject_pki.raw == leaf.public_key().raw) {
        let detail = "leaf certificate was not issued to the requested public key";
        errors.invalid(&at, chain, detail);
        return;
    }
    let validity = leaf.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    times(object, from, to, errors);
    if errors.0.is_empty() && others.iter().any(|block| block.parse_x509().is_err()) {
        errors.invalid(&at, chain, "intermediate certificate does not parse as valid X.509");
    }
}

/// The times in the status are those of the certificate, and leave room for its renewal.
fn times(object: &Value, from: i64, to: i64, errors: &mut Errors) {
    let (status, at) = (object.at("status"), Path::new("status"));
    for (name, detail) in [
        (
            "notBefore",
            "must be present and consistent with the issued certificate",
        ),
        ("notAfter", "must be present and consistent with the issued certificate"),
        (
            "beginRefreshAt",
            "must be present and in the range [notbefore+10min, notafter-10min]",
        ),
    ] {
        if status.lacks(name) {
            errors.required(&at.child(name), detail);
        }
    }
    if !errors.0.is_empty() {
        return;
    }
    let second = |name: &str| {
        status
            .text(name)
            .parse::<Timestamp>()
            .map_or(i64::MIN, Timestamp::as_second)
    };
    let mut wrong = |name: &str, detail: &str| errors.invalid(&at.child(name), status.text(name), detail);
    let ten_minutes = SignedDuration::from_mins(10).as_secs();
    let lifetime = to.saturating_sub(from);
    let most = object.at("spec").int("maxExpirationSeconds").unwrap_or(0);
    let refresh = second("beginRefreshAt");
    if second("notBefore") != from {
        wrong(
            "notBefore",
            "must be set to the NotBefore time encoded in the leaf certificate",
        );
    } else if from.abs_diff(Timestamp::now().as_second()) > 300 {
        wrong(
            "notBefore",
            "must be set to within 5 minutes of kube-apiserver's current time",
        );
    } else if second("notAfter") != to {
        wrong(
            "notAfter",
            "must be set to the NotAfter time encoded in the leaf certificate",
        );
    } else if lifetime < LEAST_SECONDS {
        wrong("certificateChain", "leaf certificate lifetime must be >= 1 hour");
    } else if lifetime > most {
        let detail = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})");
        wrong("certificateChain", &detail);
    } else if refresh < from + ten_minutes {
        wrong("beginRefreshAt", "must be at least 10 minutes after status.notBefore");
    } else if refresh > to - ten_minutes {
        wrong("beginRefreshAt", "must be at least 10 minutes before status.notAfter");
    }
}
