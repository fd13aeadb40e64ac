//! Roles and their bindings.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text, wide};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, form, metadata};

/// The rules of `roles` and `clusterroles`.
pub(crate) struct Role {
    /// Whether the role is of a namespace.
    pub(crate) namespaced: bool,
}

/// The rules of `rolebindings` and `clusterrolebindings`.
pub(crate) struct Binding {
    /// Whether the binding is of a namespace.
    pub(crate) namespaced: bool,
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn name(name: &str, _prefix: bool) -> Vec<String> {
    form::path_segment(name)
}

impl Rules for Role {
    fn namespaced(&self) -> bool {
        self.namespaced
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, self.namespaced, name, &mut errors);
        let at = Path::new("rules");
        for (index, rule) in object.list("rules").iter().enumerate() {
            policy_rule(rule, self.namespaced, &at.index(index), &mut errors);
        }
        if object.has("aggregationRule") && !self.namespaced {
            let at = Path::new("aggregationRule.clusterRoleSelectors");
            let selectors = object.at("aggregationRule").list("clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.required(&at, detail);
            }
            for (index, selector) in selectors.iter().enumerate() {
                errors.selector(&at.index(index), selector);
            }
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_create(object);
        errors.extend(metadata::check_update(object, old));
        errors
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

fn policy_rule(rule: &Value, namespaced: bool, at: &Path<'_>, errors: &mut Errors) {
    if rule.list("verbs").is_empty() {
        errors.required(&at.child("verbs"), "");
    }
    let urls = rule.list("nonResourceURLs");
    if !urls.is_empty() {
        let at = at.child("nonResourceURLs");
        let shown = rule.at("nonResourceURLs");
        if namespaced {
            errors.invalid(&at, shown.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|name| !rule.list(name).is_empty())
        {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&at, shown.clone(), detail);
        }
        return;
    }
    if rule.list("apiGroups").is_empty() {
        errors.required(
            &at.child("apiGroups"),
            "resource rules must supply at least one api group",
        );
    }
    if rule.list("resources").is_empty() {
        errors.required(
            &at.child("resources"),
            "resource rules must supply at least one resource",
        );
    }
}

impl Rules for Binding {
    fn namespaced(&self) -> bool {
        self.namespaced
    }

    fn default(&self, object: &mut Value) {
        object.object("roleRef").or_text("apiGroup", GROUP);
        for subject in object.each("subjects") {
            if matches!(subject.text("kind"), "User" | "Group") {
                subject.or_text("apiGroup", GROUP);
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, self.namespaced, name, &mut errors);
        let (role, at) = (object.at("roleRef"), Path::new("roleRef"));
        errors.one_of(&at.child("apiGroup"), role.text("apiGroup"), &[GROUP]);
        let kinds: &[&str] = if self.namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        errors.one_of(&at.child("kind"), role.text("kind"), kinds);
        errors.required_form(&at.child("name"), role.text("name"), form::path_segment);
        let at = Path::new("subjects");
        for (index, one) in object.list("subjects").iter().enumerate() {
            subject(one, self.namespaced, &at.index(index), &mut errors);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        errors.immutable(&Path::new("roleRef"), object.at("roleRef"), old.at("roleRef"));
        errors.0
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Role", "The role that is given."),
            age::AGE,
            wide("Users", "The users who get it."),
            wide("Groups", "The groups who get it."),
            wide("ServiceAccounts", "The service accounts that get it."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let role = object.at("roleRef");
        let of = |kind: &str| {
            let all = object
                .list("subjects")
                .iter()
                .filter(|subject| subject.text("kind") == kind);
            let shown = all.map(|subject| match (kind, subject.text("namespace")) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", subject.text("name"))
                }
                _ => subject.text("name").to_owned(),
            });
            shown.collect::<Vec<_>>().join(", ")
        };
        vec![
            column::name(object),
            format!("{}/{}", role.text("kind"), role.text("name")).into(),
            age::cell(object, now),
            of("User").into(),
            of("Group").into(),
            of("ServiceAccount").into(),
        ]
    }
}

fn subject(subject: &Value, namespaced: bool, at: &Path<'_>, errors: &mut Errors) {
    let (name, group) = (subject.text("name"), subject.text("apiGroup"));
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.form(&at.child("name"), name, form::dns_subdomain);
            }
            if !group.is_empty() {
                errors.not_supported(&at.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.lacks("namespace") {
                errors.required(&at.child("namespace"), "");
            }
        }
        "User" | "Group" => errors.one_of(&at.child("apiGroup"), group, &[GROUP]),
        other => errors.not_supported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}
