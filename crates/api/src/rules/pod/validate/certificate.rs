//! Certificates in projected volumes: trust anchors, and a certificate of the pod's own.

use serde_json::Value;

use super::volume::{local_path, unique};
use crate::rules::check::Errors;
use crate::rules::signing_request::signer_name;
use crate::rules::view::View as _;
use meta::Path;

const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const SHORTEST: i64 = 3600;
const LONGEST: i64 = 91 * 24 * 3600;
/// The longest that Kubernetes' own signers give.
const LONGEST_OF_KUBERNETES: i64 = 24 * 3600;

/// A `clusterTrustBundle` source.
pub(super) fn trust_bundle<'a>(
    source: &'a Value,
    volume: &Path<'_>,
    at: &Path<'_>,
    paths: &mut Vec<&'a str>,
    errors: &mut Errors,
) {
    match (source.has("name"), source.has("signerName")) {
        (true, true) => errors.invalid(at, source.clone(), "only one of name and signerName may be used"),
        (true, false) => {
            if source.text("name").is_empty() {
                errors.required(&at.child("name"), "must be a valid object name");
            }
            if source.has("labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                errors.invalid(&at.child("labelSelector"), source.at("labelSelector").clone(), why);
            }
        }
        (false, true) => {
            signer_name(source.text("signerName"), &at.child("signerName"), errors);
            if source.has("labelSelector") {
                errors.selector(&at.child("labelSelector"), source.at("labelSelector"));
            }
        }
        (false, false) => errors.required(at, "either name or signerName must be specified"),
    }
    let path = source.text("path");
    if path.is_empty() {
        errors.required(&at.child("path"), "");
    }
    local_path(path, &at.child("path"), errors);
    unique(path, path, paths, volume, errors);
}

/// A `podCertificate` source.
pub(super) fn pod_certificate<'a>(
    source: &'a Value,
    volume: &Path<'_>,
    at: &Path<'_>,
    paths: &mut Vec<&'a str>,
    errors: &mut Errors,
) {
    let signer = source.text("signerName");
    signer_name(signer, &at.child("signerName"), errors);
    let key = source.text("keyType");
    if !KEY_TYPES.contains(&key) {
        errors.not_supported(&at.child("keyType"), key, &KEY_TYPES);
    }
    if let Some(seconds) = source.int("maxExpirationSeconds") {
        let at = at.child("maxExpirationSeconds");
        if seconds < SHORTEST {
            errors.invalid(&at, seconds, "if provided, maxExpirationSeconds must be >= 3600");
        }
        let domain = signer.split('/').next().unwrap_or_default();
        let longest = match domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") {
            true => LONGEST_OF_KUBERNETES,
            false => LONGEST,
        };
        if seconds > longest {
            let why = format!("if provided, maxExpirationSeconds must be <= {longest}");
            errors.invalid(&at, seconds, &why);
        }
    }
    let names = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    for name in names {
        let path = source.text(name);
        if !path.is_empty() {
            local_path(path, &at.child(name), errors);
            unique(path, path, paths, volume, errors);
        }
    }
    if names.iter().all(|name| source.text(name).is_empty()) {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(at, why);
    }
}
