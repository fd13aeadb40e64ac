//! CertificateSigningRequests. Who asks is recorded by the server through `record_requester`.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, or, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Requester, Rules, age, base64, form, metadata, strategy};

/// The rules of `certificates.k8s.io` `certificatesigningrequests`.
pub(crate) struct CertificateSigningRequest;

const DECISIONS: [&str; 2] = ["Approved", "Denied"];

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

const COLUMNS: &[Column] = &[
    age::NAME,
    age::AGE,
    text("SignerName", "Who is asked to sign."),
    text("Requestor", "Who asks."),
    text("RequestedDuration", "For how long the certificate should be good."),
    text("Condition", "What was decided."),
];

fn any_name(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

impl Rules for CertificateSigningRequest {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("status");
        for condition in object.object("status").each("conditions") {
            condition.or_text("status", "True");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let spec = object.object("spec");
        for name in ["username", "uid", "groups", "extra"] {
            spec.drop(name);
        }
        object.set("status", json!({}));
    }

    fn record_requester(&self, object: &mut Value, requester: &Requester<'_>) {
        let spec = object.object("spec");
        for (name, text) in [("username", requester.name), ("uid", requester.uid)] {
            if !text.is_empty() {
                spec.set(name, text);
            }
        }
        if !requester.groups.is_empty() {
            spec.set("groups", requester.groups.to_vec());
        }
        if requester.extra.as_object().is_some_and(|extra| !extra.is_empty()) {
            spec.set("extra", requester.extra.clone());
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        object.take_from("spec", old);
        strategy::keep_status(object, old);
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
        keep_decisions(object, old);
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        if subresource != "approval" {
            return self.prepare_status(object, old);
        }
        let conditions = object.at("status").at("conditions").clone();
        object.take_from("spec", old);
        strategy::keep_status(object, old);
        let status = object.object("status");
        if conditions.is_null() {
            status.drop("conditions");
        } else {
            status.set("conditions", conditions);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, any_name, &mut errors);
        request(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        changes(object, old, None)
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        changes(object, old, Some("status"))
    }

    fn validate_subresource(&self, subresource: &str, object: &Value, old: &Value) -> Vec<FieldError> {
        changes(object, old, Some(subresource))
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "spec.signerName"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let duration = spec
            .int("expirationSeconds")
            .map_or_else(|| "<none>".to_owned(), age::human_duration);
        vec![
            column::name(object),
            age::cell(object, now),
            or(spec.text("signerName"), "<none>").into(),
            spec.text("username").into(),
            duration.into(),
            decision(object.at("status")).into(),
        ]
    }
}

fn decision(status: &Value) -> String {
    let has = |kind: &str| {
        status
            .list("conditions")
            .iter()
            .any(|condition| condition.text("type") == kind)
    };
    let mut word = if has("Denied") {
        "Denied".to_owned()
    } else if has("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if has("Failed") {
        word.push_str(",Failed");
    }
    if !status.lacks("certificate") {
        word.push_str(",Issued");
    }
    word
}

fn of_kind<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    object
        .at("status")
        .list("conditions")
        .iter()
        .filter(|condition| condition.text("type") == kind)
        .collect()
}

/// Through `/status` the decisions can't be changed, only repeated.
fn keep_decisions(object: &mut Value, old: &Value) {
    for kind in DECISIONS {
        let before = of_kind(old, kind);
        if before.len() != of_kind(object, kind).len() {
            continue;
        }
        let now = object
            .object("status")
            .each("conditions")
            .filter(|condition| condition.text("type") == kind);
        for (now, before) in now.zip(before) {
            *now = before.clone();
        }
    }
}

fn request(object: &Value, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let encoded = spec.text("request");
    if !is_request(encoded) {
        errors.invalid(
            &at.child("request"),
            encoded,
            "PEM block type must be CERTIFICATE REQUEST",
        );
    }
    let usages = spec.list("usages");
    let at_usages = at.child("usages");
    if usages.is_empty() {
        errors.required(&at_usages, "");
    }
    for (index, usage) in usages.iter().enumerate() {
        errors.one_of(&at_usages.index(index), usage.as_str().unwrap_or_default(), USAGES);
    }
    for (index, usage) in usages.iter().enumerate() {
        if usages[..index].contains(usage) {
            errors.duplicate(&at_usages.index(index), usage.clone());
        }
    }
    signer(spec.text("signerName"), &at.child("signerName"), errors);
    if let Some(seconds) = spec.int("expirationSeconds")
        && seconds < 600
    {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    conditions(object, errors);
}

/// Whether the bytes are PEM with a request in it; the signature is checked by whoever signs.
fn is_request(encoded: &str) -> bool {
    let Some(bytes) = base64::decode(encoded) else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return false;
    };
    text.contains("-----BEGIN CERTIFICATE REQUEST-----") && text.contains("-----END CERTIFICATE REQUEST-----")
}

fn signer(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name == "kubernetes.io/legacy-unknown" {
        errors.invalid(at, name, "the legacy signerName is not allowed via this API version");
        return;
    }
    signer_name(name, at, errors);
}

/// The name of a signer: a domain, a slash, and a path without more of them.
pub(crate) fn signer_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    match name.split_once('/') {
        Some((domain, path)) if !path.contains('/') => {
            errors.invalid_each(at, name, form::dns_subdomain(domain));
            if path.is_empty() {
                errors.invalid(at, name, "validating signer path segment: must not be empty");
            } else {
                errors.invalid_each(at, name, form::dns_subdomain(path));
            }
            if !domain.is_empty() && !domain.contains('.') {
                errors.invalid(
                    at,
                    name,
                    "should be a domain with at least two segments separated by dots",
                );
            }
        }
        _ => errors.invalid(
            at,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ),
    }
}

fn conditions(object: &Value, errors: &mut Errors) {
    let list = object.at("status").list("conditions");
    let at = Path::new("status.conditions");
    let mut decided = None;
    for (index, condition) in list.iter().enumerate() {
        let each = at.index(index);
        let (kind, status) = (condition.text("type"), condition.text("status"));
        if kind.is_empty() {
            errors.required(&each.child("type"), "");
        }
        let only_true = matches!(kind, "Approved" | "Denied" | "Failed");
        let known: &[&str] = if only_true {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        if status.is_empty() {
            errors.required(&each.child("status"), "");
        } else {
            errors.one_of(&each.child("status"), status, known);
        }
        if DECISIONS.contains(&kind) {
            if decided.is_some_and(|other| other != kind) {
                let both = "{conditions[{\"type\": \"Approved\"}], conditions[{\"type\": \"Denied\"}]}";
                let detail = "must specify at most one of: `conditions[{\"type\": \"Approved\"}]`, `conditions[{\"type\": \"Denied\"}]`";
                errors.invalid(&at, both, detail);
            }
            decided = Some(kind);
        }
        if list[..index].iter().any(|earlier| earlier.text("type") == kind) {
            errors.duplicate(&each.child("type"), kind);
        }
    }
}

/// Checks an update; the certificate comes through `status`, decisions through `approval`.
fn changes(object: &Value, old: &Value, through: Option<&str>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    metadata::create(object, false, any_name, &mut errors);
    request(object, &mut errors);
    let at = Path::new("status.conditions");
    for kind in ["Approved", "Denied", "Failed"] {
        let (now, before) = (of_kind(object, kind), of_kind(old, kind));
        if now.len() < before.len() {
            errors.forbidden(&at, &format!("updates may not remove a condition of type {kind:?}"));
        } else if through != Some("approval") && DECISIONS.contains(&kind) {
            if now.len() > before.len() {
                errors.forbidden(&at, &format!("updates may not add a condition of type {kind:?}"));
            } else if !now.iter().zip(&before).all(|(now, before)| same(now, before)) {
                errors.forbidden(&at, &format!("updates may not modify a condition of type {kind:?}\n"));
            }
        }
    }
    let (now, before) = (
        object.at("status").text("certificate"),
        old.at("status").text("certificate"),
    );
    if now != before {
        let at = Path::new("status.certificate");
        if through != Some("status") {
            errors.forbidden(&at, "updates may not set certificate content");
        } else if !before.is_empty() {
            errors.forbidden(&at, "updates may not modify existing certificate content");
        }
    }
    metadata::update(object, old, &mut errors);
    errors.0
}
