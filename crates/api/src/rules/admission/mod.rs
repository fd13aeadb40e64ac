//! `admissionregistration.k8s.io`: webhook configurations, admission policies and their bindings. What they do to
//! requests is the server's.

mod binding;
mod matching;
mod policy;
mod webhook;

pub(super) use binding::Binding;
pub(super) use policy::{Mutating, Validating};
pub(super) use webhook::Configuration;

use meta::Path;
use serde_json::Value;

use super::check::Errors;
use super::view::View as _;
use super::{form, metadata};

const RESERVED: &str = ".static.k8s.io";

/// The metadata of a new object; its name must not be one that only files on the server's disk may have.
fn create(object: &Value, errors: &mut Errors) {
    metadata::create(object, false, metadata::subdomain, errors);
}

fn not_reserved(object: &Value, errors: &mut Errors) {
    let name = object.at("metadata").text("name");
    if name.ends_with(RESERVED) {
        let why = format!(
            "names ending with {RESERVED:?} are reserved for static manifest-based configurations and cannot be \
             managed via the API"
        );
        errors.invalid(&Path::new("metadata.name"), name, &why);
    }
}

/// A name with at least three parts.
fn fully_qualified(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let why = form::dns_subdomain(name);
    if name.is_empty() {
        errors.required(at, "");
    } else if !why.is_empty() {
        errors.invalid(at, name, &why.join(","));
    } else if name.split('.').count() < 3 {
        errors.invalid(
            at,
            name,
            "should be a domain with at least three segments separated by dots",
        );
    }
}
