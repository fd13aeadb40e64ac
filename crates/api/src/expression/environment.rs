//! What the expressions of admission may refer to, and of which types it is.

use std::collections::BTreeMap;

use cel::{Declaration, Environment, Question, Type};

use super::Declared;

/// What is declared.
pub(super) fn of(declared: &Declared<'_>) -> Environment {
    let mut environment = Environment::new()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("namespaceObject", Type::Dyn)
        .with("request", request());
    if declared.params {
        environment = environment.with("params", Type::Dyn);
    }
    if declared.authorizer {
        environment = environment
            .with("authorizer", Question::TYPE)
            .with("authorizer.requestResource", Question::RESOURCE_TYPE);
    }
    if !declared.variables.is_empty() {
        let fields = declared.variables.iter();
        let fields = fields.map(|(name, ty)| (name.clone(), ty.clone().into()));
        let variables = Declaration::object("kubernetes.variables", fields.collect());
        environment = environment.with("variables", variables);
    }
    if declared.patches {
        environment = environment.with_struct("Object").with_struct("JSONPatch");
    }
    environment
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields
        .iter()
        .map(|(name, ty)| ((*name).to_owned(), Declaration::from(ty.clone())));
    Declaration::object(name, fields.collect::<BTreeMap<_, _>>()).ty
}

/// An `AdmissionRequest` without the objects.
fn request() -> Type {
    let text = || Type::String;
    let kind = || {
        let fields = [("group", text()), ("version", text()), ("kind", text())];
        object("kubernetes.GroupVersionKind", &fields)
    };
    let resource = || {
        let fields = [("group", text()), ("version", text()), ("resource", text())];
        object("kubernetes.GroupVersionResource", &fields)
    };
    let user = [
        ("username", text()),
        ("uid", text()),
        ("groups", Type::list(text())),
        ("extra", Type::map(text(), Type::list(text()))),
    ];
    let fields = [
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", text()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", object("kubernetes.UserInfo", &user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    object("kubernetes.AdmissionRequest", &fields)
}
