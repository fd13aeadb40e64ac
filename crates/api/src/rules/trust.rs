//! ClusterTrustBundles: certificates of authorities that pods may trust.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;
use x509_parser::pem::Pem;

use super::check::Errors;
use super::column::{self, or, text};
use super::view::View as _;
use super::{Column, Rules, age, form, metadata, signing_request};

/// The rules of `certificates.k8s.io` `clustertrustbundles`.
pub(crate) struct ClusterTrustBundle;

/// The longest bundle, in bytes.
const MOST: usize = 1 << 20;

impl Rules for ClusterTrustBundle {
    fn namespaced(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        names(object, &mut errors);
        bundle(object.at("spec").text("trustBundle"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        names(object, &mut errors);
        let (spec, before) = (object.at("spec"), old.at("spec"));
        if spec.text("trustBundle") != before.text("trustBundle") {
            bundle(spec.text("trustBundle"), &mut errors);
        }
        metadata::update(object, old, &mut errors);
        let at = Path::new("spec.signerName");
        errors.immutable(&at, spec.at("signerName"), before.at("signerName"));
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "spec.signerName"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("SignerName", "Whose bundle it is.")];
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let signer = or(object.at("spec").text("signerName"), "<none>");
        vec![column::name(object), signer.into()]
    }
}

fn any_name(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

/// A signer's bundles have its name before theirs, others no colon.
fn names(object: &Value, errors: &mut Errors) {
    metadata::create(object, false, any_name, errors);
    let (name, signer) = (object.at("metadata").text("name"), object.at("spec").text("signerName"));
    let at = Path::new("metadata.name");
    if signer.is_empty() {
        if name.contains(':') {
            let detail = "ClusterTrustBundle without signer name must not have \":\" in its name";
            errors.invalid(&at, name, detail);
        } else {
            errors.invalid_each(&at, name, form::dns_subdomain(name));
        }
        return;
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => errors.invalid_each(&at, name, form::dns_subdomain(rest)),
        None => {
            let detail = format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
            errors.invalid(&at, name, &detail);
        }
    }
    signing_request::signer_name(signer, &Path::new("spec.signerName"), errors);
}

/// Certificates of authorities in PEM, at least one, none twice.
fn bundle(text: &str, errors: &mut Errors) {
    const OMITTED: &str = "<value omitted>";
    let at = Path::new("spec.trustBundle");
    if text.len() > MOST {
        errors.too_long(&at, MOST);
        return;
    }
    let mut anchors: Vec<Vec<u8>> = Vec::new();
    let mut twice: Vec<(usize, usize)> = Vec::new();
    let before = errors.0.len();
    for (number, block) in Pem::iter_from_buffer(text.as_bytes()).flatten().enumerate() {
        match what_is_wrong(&block) {
            Some(wrong) => errors.invalid(&at, OMITTED, &format!("entry {number} {wrong}")),
            None => {
                if let Some(first) = anchors.iter().position(|known| *known == block.contents) {
                    twice.push((first, number));
                }
                anchors.push(block.contents);
            }
        }
    }
    if errors.0.len() > before {
        return;
    }
    if anchors.is_empty() {
        errors.invalid(&at, OMITTED, "at least one trust anchor must be provided");
    }
    for (first, second) in twice {
        let detail = format!("duplicate trust anchor (indices [{first} {second}])");
        errors.invalid(&at, OMITTED, &detail);
    }
}

fn what_is_wrong(block: &Pem) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    let Ok(certificate) = block.parse_x509() else {
        return Some("does not parse as X.509".to_owned());
    };
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => None,
        Ok(_) => Some("does not have the CA bit set".to_owned()),
        Err(_) => Some("has invalid basic constraints".to_owned()),
    }
}
