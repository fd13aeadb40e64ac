//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::matching;
use crate::rules::check::Errors;
use crate::rules::column::{self, integer};
use crate::rules::view::{Edit as _, View as _, same};
use crate::rules::{Column, Rules, age, form, metadata, strategy};

/// The rules of a configuration of webhooks.
pub(crate) struct Configuration {
    pub(crate) mutating: bool,
}

const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// What older objects may keep that new ones may not have.
#[derive(Clone, Copy)]
struct Strict {
    conditions: bool,
    side_effects: bool,
    versions: bool,
    names: bool,
    selectors: bool,
}

impl Strict {
    const ALL: Strict = Strict {
        conditions: true,
        side_effects: true,
        versions: true,
        names: true,
        selectors: true,
    };

    fn after(object: &Value, old: &Value) -> Strict {
        let (new, hooks) = (object.list("webhooks"), old.list("webhooks"));
        let mut names = BTreeSet::new();
        Strict {
            conditions: new.len() != hooks.len()
                || !new
                    .iter()
                    .zip(hooks)
                    .all(|(new, old)| same(new.at("matchConditions"), old.at("matchConditions"))),
            side_effects: hooks
                .iter()
                .all(|hook| NO_SIDE_EFFECTS.contains(&hook.text("sideEffects"))),
            versions: hooks
                .iter()
                .all(|hook| hook.list("admissionReviewVersions").is_empty() || is_known_version(hook)),
            names: hooks.iter().all(|hook| names.insert(hook.text("name"))),
            selectors: hooks.iter().all(|hook| {
                let mut errors = Errors::default();
                selectors(hook, &Path::new("webhooks"), &mut errors);
                errors.0.is_empty()
            }),
        }
    }
}

impl Rules for Configuration {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        for hook in object.each("webhooks") {
            hook.or("failurePolicy", "Fail");
            matching::default(hook);
            hook.or("timeoutSeconds", 10);
            if self.mutating {
                hook.or("reinvocationPolicy", "Never");
            }
            matching::default_rules(hook, "rules");
            let service = hook.there("clientConfig").and_then(|client| client.there("service"));
            if let Some(service) = service {
                service.or("port", 443);
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        let before = old.at("metadata").int("generation").unwrap_or(0);
        let changed = !same(object.at("webhooks"), old.at("webhooks"));
        strategy::set_generation(object, before + i64::from(changed));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        super::create(object, &mut errors);
        self.hooks(object, Strict::ALL, &mut errors);
        super::not_reserved(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        self.hooks(object, Strict::after(object, old), &mut errors);
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, integer("Webhooks", "How many webhooks it has."), age::AGE];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.list("webhooks").len().into(),
            age::cell(object, now),
        ]
    }
}

impl Configuration {
    fn hooks(&self, object: &Value, strict: Strict, errors: &mut Errors) {
        let list = Path::new("webhooks");
        let mut names = BTreeSet::new();
        for (index, hook) in object.list("webhooks").iter().enumerate() {
            let at = list.index(index);
            self.hook(hook, strict, &at, errors);
            versions(hook, strict, &at.child("admissionReviewVersions"), errors);
            let name = hook.text("name");
            if strict.names && !name.is_empty() && !names.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
    }

    fn hook(&self, hook: &Value, strict: Strict, at: &Path<'_>, errors: &mut Errors) {
        super::fully_qualified(hook.text("name"), &at.child("name"), errors);
        let rules = at.child("rules");
        for (index, rule) in hook.list("rules").iter().enumerate() {
            matching::rule(rule, &rules.index(index), errors);
        }
        for (key, known) in [
            ("failurePolicy", matching::FAILURE_POLICIES),
            ("matchPolicy", matching::MATCH_POLICIES),
        ] {
            if hook.has(key) {
                errors.one_of(&at.child(key), hook.text(key), &known);
            }
        }
        let allowed: &[&str] = if strict.side_effects {
            &NO_SIDE_EFFECTS
        } else {
            &SIDE_EFFECTS
        };
        let effects = at.child("sideEffects");
        if hook.has("sideEffects") {
            errors.one_of(&effects, hook.text("sideEffects"), allowed);
        } else {
            errors.required(&effects, &format!("must specify one of {}", allowed.join(", ")));
        }
        if let Some(seconds) = hook.int("timeoutSeconds")
            && !(1..=30).contains(&seconds)
        {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&at.child("timeoutSeconds"), seconds, why);
        }
        if strict.selectors {
            selectors(hook, at, errors);
        }
        if self.mutating && hook.has("reinvocationPolicy") {
            let policy = hook.text("reinvocationPolicy");
            errors.one_of(&at.child("reinvocationPolicy"), policy, &matching::REINVOCATION);
        }
        client(hook.at("clientConfig"), &at.child("clientConfig"), errors);
        if strict.conditions {
            matching::conditions(
                hook.list("matchConditions"),
                false,
                &at.child("matchConditions"),
                errors,
            );
        }
    }
}

fn selectors(hook: &Value, at: &Path<'_>, errors: &mut Errors) {
    for key in ["namespaceSelector", "objectSelector"] {
        errors.selector(&at.child(key), hook.at(key));
    }
}

fn is_known_version(hook: &Value) -> bool {
    let mut versions = hook.list("admissionReviewVersions").iter().filter_map(Value::as_str);
    versions.any(|version| REVIEW_VERSIONS.contains(&version))
}

fn versions(hook: &Value, strict: Strict, at: &Path<'_>, errors: &mut Errors) {
    let versions = hook.list("admissionReviewVersions");
    if versions.is_empty() {
        errors.required(at, &format!("must specify one of {}", REVIEW_VERSIONS.join(", ")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let (version, at) = (version.as_str().unwrap_or_default(), at.index(index));
        if seen.insert(version) {
            errors.invalid_each(&at, version, meta::names::dns1035_label(version));
        } else {
            errors.invalid(&at, version, "duplicate version");
        }
    }
    if strict.versions && !is_known_version(hook) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(at, json!(versions), &why);
    }
}

/// How a webhook is reached: by a service or by a URL.
fn client(client: &Value, at: &Path<'_>, errors: &mut Errors) {
    if client.has("url") == client.has("service") {
        errors.required(at, "exactly one of url or service is required");
    } else if client.has("url") {
        url(client.text("url"), &at.child("url"), errors);
    } else {
        service(client.at("service"), &at.child("service"), errors);
    }
}

fn url(text: &str, at: &Path<'_>, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = rest
        .split('/')
        .next()
        .filter(|_| !scheme.is_empty())
        .unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(at, scheme, &why);
    }
    if host.is_empty() {
        errors.invalid(at, host, &format!("host must be specified{FORM}"));
    }
    for (part, why) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.invalid(at, part, why);
        }
    }
}

fn service(service: &Value, at: &Path<'_>, errors: &mut Errors) {
    // Kubernetes mixes up the two names where it tells that one is missing.
    for (missing, told) in [("namespace", "name"), ("name", "namespace")] {
        if service.lacks(missing) {
            errors.required(&at.child(told), "");
        }
    }
    let port = service.int("port").unwrap_or(443);
    if !(1..=65_535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&at.child("port"), port, why);
    }
    let (path, at) = (service.text("path"), at.child("path"));
    if matches!(path, "" | "/") {
        return;
    }
    if path == "//" {
        return errors.invalid(&at, path, "segment[0] may not be empty");
    }
    if !path.starts_with('/') {
        errors.invalid(&at, path, "must start with a '/'");
    }
    let mut letters = path.chars();
    letters.next();
    let rest = letters.as_str();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(&at, path, &format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in form::dns_subdomain(step) {
            errors.invalid(&at, path, &format!("segment[{index}]: {why}"));
        }
    }
}
