//! Type checking of ValidatingAdmissionPolicies: of which types their objects and parameters are, and what follows for
//! their expressions. It only warns: an expression that is refused altogether is refused when the policy is written.
//!
//! Pure: what is served, and the schemas of kinds that aren't built in, are given. What is checked, and what isn't
//! (conditions, audit annotations, variables by themselves), is as in Kubernetes
//! (`k8s.io/apiserver/pkg/admission/plugin/policy/validating`, `TypeChecker`).

mod builtin;
mod document;
mod kinds;

use cel::{Declaration, Program};
use meta::{GroupVersionKind, Path};
use serde_json::Value;

use crate::expression::environment::{self, Typed};
use crate::rules::view::View as _;

pub use kinds::{Served, kinds, params, served};

/// What is known of a kind's objects; nothing of those whose schema has no type.
#[derive(Clone, Debug)]
pub struct Shape(Option<Declaration>);

/// Something that looks wrong in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where in the policy the expression is.
    pub field_ref: String,
    /// What is wrong with it, for each kind for which something is.
    pub warning: String,
}

impl Shape {
    /// Of a built-in kind; none when the kind isn't one.
    ///
    /// `number` tells the types of one policy apart: they are named after the kind and it, in warnings too.
    #[must_use]
    pub fn builtin(kind: &GroupVersionKind, number: usize) -> Option<Shape> {
        builtin::shape(kind, &type_name(kind, number)).map(Shape)
    }

    /// Of a kind that an OpenAPI document has; none when it hasn't.
    #[must_use]
    pub fn published(document: &Value, kind: &GroupVersionKind, number: usize) -> Option<Shape> {
        document::shape(document, kind, &type_name(kind, number)).map(Shape)
    }
}

/// Kubernetes ends the names with the nanosecond of the check. Ours are the same in each check, so that a check that finds
/// nothing new changes nothing.
fn type_name(kind: &GroupVersionKind, number: usize) -> String {
    format!("{}{number}", kind.kind)
}

/// Where the OpenAPI document of a kind's version is.
#[must_use]
pub fn document_path(kind: &GroupVersionKind) -> String {
    let (group, version) = (&kind.group, &kind.version);
    match group.is_empty() {
        true => format!("/openapi/v3/api/{version}"),
        false => format!("/openapi/v3/apis/{group}/{version}"),
    }
}

/// Checks the expressions of a policy against each of these kinds. `params` is given when the policy has parameters; it is
/// none when nothing is known of them.
#[must_use]
pub fn check(policy: &Value, kinds: &[(GroupVersionKind, Shape)], params: Option<Option<&Shape>>) -> Vec<Warning> {
    let spec = policy.at("spec");
    let environments: Vec<_> = kinds
        .iter()
        .map(|(kind, shape)| {
            let typed = Typed {
                object: shape.0.as_ref(),
                params: params.map(|params| params.and_then(|shape| shape.0.as_ref())),
            };
            (kind, environment::typed(&typed, spec.list("variables")))
        })
        .collect();
    let mut warnings = Vec::new();
    let spec_at = Path::new("spec");
    let list = spec_at.child("validations");
    for (index, validation) in spec.list("validations").iter().enumerate() {
        for key in ["expression", "messageExpression"] {
            let text = validation.text(key);
            if text.is_empty() {
                continue;
            }
            let found = environments.iter().filter_map(|(kind, environment)| {
                let issues = Program::compile(text, environment).err()?;
                Some(format!("{}: {issues}\n", shown(kind)))
            });
            let found: Vec<String> = found.collect();
            if !found.is_empty() {
                warnings.push(Warning {
                    field_ref: list.index(index).child(key).to_string(),
                    warning: found.join("\n"),
                });
            }
        }
    }
    warnings
}

/// A kind as Go writes it.
fn shown(kind: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

/// The group and the version in an `apiVersion`.
fn split(api_version: &str) -> Option<(&str, &str)> {
    match api_version.split_once('/') {
        Some((_, version)) if version.contains('/') => None,
        Some(both) => Some(both),
        None => Some(("", api_version)),
    }
}

#[cfg(test)]
mod tests;
