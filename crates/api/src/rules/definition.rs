//! CustomResourceDefinition: names, versions, schemas and conversion. What objects of its kind must be is `custom`'s.

use std::collections::BTreeSet;

use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::view::{Edit as _, View as _, same};
use super::{Rules, form, metadata, strategy};
use crate::custom::{JsonPath, check_schema, leads_somewhere};

/// The finalizer that stays until all objects of the kind are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const APPROVED: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const MOST_SELECTABLE: usize = 8;

pub(super) struct CustomResourceDefinition;

impl Rules for CustomResourceDefinition {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        let names = spec.object("names");
        let kind = names.text("kind").to_owned();
        names.or_text("singular", &kind.to_lowercase());
        if !kind.is_empty() {
            names.or_text("listKind", &format!("{kind}List"));
        }
        spec.or("conversion", json!({"strategy": "None"}));
        let service = spec
            .there("conversion")
            .and_then(|conversion| conversion.there("webhook"))
            .and_then(|webhook| webhook.there("clientConfig"))
            .and_then(|client| client.there("service"));
        if let Some(service) = service {
            service.or("port", 443);
        }
        let storage = storage_version(object).map(str::to_owned);
        let status = object.object("status");
        if status.list("storedVersions").is_empty()
            && let Some(storage) = storage
        {
            status.set("storedVersions", json!([storage]));
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let names = json!({"plural": "", "kind": ""});
        let stored: Vec<&str> = storage_version(object).into_iter().collect();
        let stored = json!(stored);
        object.set("status", json!({"acceptedNames": names, "storedVersions": stored}));
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
        let storage = storage_version(object).map(str::to_owned);
        let mut stored = object.at("status").list("storedVersions").to_vec();
        if let Some(storage) = storage
            && !stored.iter().any(|version| *version == storage)
        {
            stored.push(storage.into());
            object.object("status").set("storedVersions", stored);
        }
    }

    fn prepare_delete(&self, object: &mut Value) {
        let metadata = object.object("metadata");
        let mut finalizers = metadata.list("finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            finalizers.push(CLEANUP.into());
            metadata.set("finalizers", finalizers);
        }
        let condition = json!({"type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            "lastTransitionTime": meta::time::now()});
        let status = object.object("status");
        let mut conditions = status.list("conditions").to_vec();
        conditions.retain(|one| one.text("type") != "Terminating");
        conditions.push(condition);
        status.set("conditions", conditions);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        let metadata = object.at("metadata");
        let at = Path::new("metadata");
        metadata::plain_template(metadata, false, metadata::subdomain, &at, &mut errors);
        let (names, group) = (object.at("spec").at("names"), object.at("spec").text("group"));
        if metadata.text("name") != format!("{}.{group}", names.text("plural")) {
            let why = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&at.child("name"), metadata.text("name"), why);
        }
        spec(object.at("spec"), &mut errors);
        status(object, &mut errors);
        approval(object, None, &mut errors);
        if object.at("spec").is("preserveUnknownFields") {
            let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                       spec.versions[*].schema instead";
            errors.invalid(&Path::new("spec").child("preserveUnknownFields"), true, why);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::plain_update(object, old, &mut errors);
        let (new_spec, old_spec) = (object.at("spec"), old.at("spec"));
        spec(new_spec, &mut errors);
        let at = Path::new("spec");
        let names = at.child("names");
        if is_established(old) {
            errors.immutable(&at.child("scope"), new_spec.at("scope"), old_spec.at("scope"));
            let (new, old) = (new_spec.at("names").at("kind"), old_spec.at("names").at("kind"));
            errors.immutable(&names.child("kind"), new, old);
        }
        errors.immutable(&at.child("group"), new_spec.at("group"), old_spec.at("group"));
        let (new, old_plural) = (new_spec.at("names").at("plural"), old_spec.at("names").at("plural"));
        errors.immutable(&names.child("plural"), new, old_plural);
        status(object, &mut errors);
        approval(object, Some(old), &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::plain_update(object, old, &mut errors);
        let at = Path::new("status");
        names(
            object.at("status").at("acceptedNames"),
            &at.child("acceptedNames"),
            &mut errors,
        );
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

fn storage_version(object: &Value) -> Option<&str> {
    let versions = object.at("spec").list("versions");
    let storage = versions.iter().find(|version| version.is("storage"))?;
    Some(storage.text("name"))
}

fn is_established(object: &Value) -> bool {
    let conditions = object.at("status").list("conditions");
    conditions
        .iter()
        .any(|condition| condition.text("type") == "Established" && condition.text("status") == "True")
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let group = spec.text("group");
    if group.is_empty() {
        errors.required(&at.child("group"), "");
    } else if let why = form::dns_subdomain(group)
        && !why.is_empty()
    {
        errors.invalid(&at.child("group"), group, &why.join(","));
    } else if !group.contains('.') {
        errors.invalid(&at.child("group"), group, "should be a domain with at least one dot");
    }
    let scope = spec.text("scope");
    if scope.is_empty() {
        errors.required(&at.child("scope"), "");
    } else {
        errors.one_of(&at.child("scope"), scope, &["Cluster", "Namespaced"]);
    }
    let versions = spec.list("versions");
    let all = at.child("versions");
    for (index, version) in versions.iter().enumerate() {
        if !version.at("schema").at("openAPIV3Schema").is_object() {
            let at = all.index(index);
            errors.required(&at.child("schema").child("openAPIV3Schema"), "");
        }
    }
    each_version(versions, &at, errors);
    let mut seen = BTreeSet::new();
    if !versions.iter().all(|version| seen.insert(version.text("name"))) {
        errors.invalid(&all, spec.at("versions").clone(), "must contain unique version names");
    }
    if versions.iter().filter(|version| version.is("storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.invalid(&all, spec.at("versions").clone(), why);
    }
    let names_at = at.child("names");
    for name in ["plural", "singular", "kind", "listKind"] {
        if spec.at("names").lacks(name) {
            errors.required(&names_at.child(name), "");
        }
    }
    names(spec.at("names"), &names_at, errors);
    conversion(spec.at("conversion"), &at.child("conversion"), errors);
}

/// What all versions have alike is told once, of the definition as a whole.
fn each_version(versions: &[Value], spec: &Path<'_>, errors: &mut Errors) {
    let alike = |key: &str| {
        versions
            .iter()
            .all(|version| same(version.at(key), versions[0].at(key)))
    };
    let all = spec.child("versions");
    let (one_schema, one_sub, one_columns) = match versions.is_empty() {
        true => return,
        false => (
            alike("schema"),
            alike("subresources"),
            alike("additionalPrinterColumns"),
        ),
    };
    for (index, version) in versions.iter().enumerate() {
        let at = all.index(index);
        let name = version.text("name");
        let why = meta::names::dns1035_label(name).join(",");
        if !why.is_empty() {
            errors.invalid(&at.child("name"), name, &why);
        }
        deprecation(version, &at, errors);
        let has_status = version.at("subresources").has("status");
        if !one_schema {
            schema(version, has_status, &at.child("schema"), errors);
        }
        if !one_sub {
            subresources(version.at("subresources"), &at.child("subresources"), errors);
        }
        if !one_columns {
            columns(version, &at.child("additionalPrinterColumns"), errors);
        }
        selectable(version, &at.child("selectableFields"), errors);
    }
    let first = &versions[0];
    let any_status = versions.iter().any(|version| version.at("subresources").has("status"));
    if one_schema {
        schema(first, any_status, &spec.child("validation"), errors);
    }
    if one_sub {
        subresources(first.at("subresources"), &spec.child("subresources"), errors);
    }
    if one_columns {
        columns(first, &spec.child("additionalPrinterColumns"), errors);
    }
}

fn schema(version: &Value, has_status: bool, at: &Path<'_>, errors: &mut Errors) {
    let schema = version.at("schema").at("openAPIV3Schema");
    if schema.is_object() {
        check_schema(schema, has_status, at, errors);
    }
}

fn deprecation(version: &Value, at: &Path<'_>, errors: &mut Errors) {
    if !version.has("deprecationWarning") {
        return;
    }
    let (at, text) = (at.child("deprecationWarning"), version.text("deprecationWarning"));
    if !version.is("deprecated") {
        errors.invalid(&at, text, "can only be set for deprecated versions");
        return;
    }
    if text.len() > 256 {
        errors.invalid(&at, text, "must be <= 256 characters long");
    }
    if text.is_empty() {
        errors.invalid(&at, text, "must not be an empty string");
    }
    if let Some((index, _)) = text.char_indices().find(|(_, letter)| letter.is_control()) {
        let why =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.invalid(&at, text, &why);
    }
}

fn subresources(subresources: &Value, at: &Path<'_>, errors: &mut Errors) {
    let scale = subresources.at("scale");
    if !scale.is_object() {
        return;
    }
    for (key, name, prefix, why) in [
        (
            "specReplicasPath",
            "scale.specReplicasPath",
            ".spec.",
            "should be a json path under .spec",
        ),
        (
            "statusReplicasPath",
            "scale.statusReplicasPath",
            ".status.",
            "should be a json path under .status",
        ),
    ] {
        let (at, path) = (at.child(name), scale.text(key));
        if path.is_empty() {
            errors.required(&at, "");
        } else if simple_path(path, &at, errors) && !path.starts_with(prefix) {
            errors.invalid(&at, path, why);
        }
    }
    let path = scale.text("labelSelectorPath");
    let at = at.child("scale.labelSelectorPath");
    if !path.is_empty()
        && simple_path(path, &at, errors)
        && !path.starts_with(".spec.")
        && !path.starts_with(".status.")
    {
        errors.invalid(&at, path, "should be a json path under either .spec or .status");
    }
}

fn simple_path(path: &str, at: &Path<'_>, errors: &mut Errors) -> bool {
    let good = path.starts_with('.');
    if !good {
        errors.invalid(at, path, "must be a simple json path starting with .");
    }
    good
}

fn columns(version: &Value, at: &Path<'_>, errors: &mut Errors) {
    for (index, column) in version.list("additionalPrinterColumns").iter().enumerate() {
        let at = at.index(index);
        if column.lacks("name") {
            errors.required(&at.child("name"), "");
        }
        let ty = column.text("type");
        let why = format!("must be one of {}", COLUMN_TYPES.join(","));
        if ty.is_empty() {
            errors.required(&at.child("type"), &why);
        } else if !COLUMN_TYPES.contains(&ty) {
            errors.invalid(&at.child("type"), ty, &why);
        }
        let format = column.text("format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.invalid(&at.child("format"), format, &why);
        }
        let path = column.text("jsonPath");
        if path.is_empty() {
            errors.required(&at.child("JSONPath"), "");
        } else {
            simple_path(path, &at.child("JSONPath"), errors);
        }
    }
}

fn selectable(version: &Value, at: &Path<'_>, errors: &mut Errors) {
    let schema = version.at("schema").at("openAPIV3Schema");
    let mut seen = BTreeSet::new();
    for (index, field) in version.list("selectableFields").iter().enumerate() {
        let path = field.text("jsonPath");
        let at = at.index(index);
        let at = at.child("jsonPath");
        if path.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if !leads_somewhere(schema, path) {
            errors.invalid(&at, path, "is an invalid path: does not refer to a valid field");
            continue;
        }
        if path.starts_with(".metadata") {
            errors.invalid(&at, path, "must not point to fields in metadata");
        }
        let names = JsonPath::parse(path).ok();
        let names = names.as_ref().and_then(JsonPath::names).unwrap_or_default();
        let found = names.into_iter().fold(schema, |at, name| at.at("properties").at(name));
        if !matches!(found.text("type"), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                       formats are allowed.";
            errors.invalid(&at, path, why);
        }
        if !seen.insert(path) {
            errors.duplicate(&at, path);
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.too_many(at, seen.len(), MOST_SELECTABLE);
    }
}

fn names(names: &Value, at: &Path<'_>, errors: &mut Errors) {
    for name in ["plural", "singular"] {
        let text = names.text(name);
        let why = meta::names::dns1035_label(text).join(",");
        if !text.is_empty() && !why.is_empty() {
            errors.invalid(&at.child(name), text, &why);
        }
    }
    for name in ["kind", "listKind"] {
        let text = names.text(name);
        let why = meta::names::dns1035_label(&text.to_lowercase()).join(",");
        if !text.is_empty() && !why.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {why}");
            errors.invalid(&at.child(name), text, &why);
        }
    }
    for (key, is_last) in [("shortNames", false), ("categories", true)] {
        if is_last && !names.lacks("kind") && names.text("kind") == names.text("listKind") {
            let why = "kind and listKind may not be the same";
            errors.invalid(&at.child("listKind"), names.text("listKind"), why);
        }
        let list = at.child(key);
        for (index, name) in names.list(key).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let why = meta::names::dns1035_label(name).join(",");
            if !why.is_empty() {
                errors.invalid(&list.index(index), name, &why);
            }
        }
    }
}

fn conversion(conversion: &Value, at: &Path<'_>, errors: &mut Errors) {
    if conversion.is_null() {
        return;
    }
    let strategy = conversion.text("strategy");
    if strategy.is_empty() {
        errors.required(&at.child("strategy"), "");
    } else {
        errors.one_of(&at.child("strategy"), strategy, &["None", "Webhook"]);
    }
    let webhook = conversion.at("webhook");
    let client = webhook.at("clientConfig");
    let (client_at, versions_at) = (at.child("webhookClientConfig"), at.child("conversionReviewVersions"));
    let versions = webhook.list("conversionReviewVersions");
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if client.is_object() {
            errors.forbidden(&client_at, why);
        }
        if !versions.is_empty() {
            errors.forbidden(&versions_at, why);
        }
        return;
    }
    if !client.is_object() {
        errors.required(&client_at, "required when strategy is set to Webhook");
    } else if client.has("url") == client.has("service") {
        errors.required(&client_at, "exactly one of url or service is required");
    }
    if versions.is_empty() {
        errors.required(&versions_at, "");
    } else if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        let why = "must include at least one of v1, v1beta1";
        errors.invalid(&versions_at, webhook.at("conversionReviewVersions").clone(), why);
    }
}

/// The versions in which objects may be stored must be among those that there are.
fn status(object: &Value, errors: &mut Errors) {
    let at = Path::new("status");
    let status = object.at("status");
    names(status.at("acceptedNames"), &at.child("acceptedNames"), errors);
    let at = at.child("storedVersions");
    let stored = status.list("storedVersions");
    if stored.is_empty() {
        errors.invalid(&at, json!([]), "must have at least one stored version");
        return;
    }
    let versions = object.at("spec").list("versions");
    for version in versions.iter().filter(|version| version.is("storage")) {
        let name = version.text("name");
        if !stored.iter().any(|stored| stored == name) {
            errors.invalid(&at, json!(stored), &format!("must have the storage version {name}"));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if !versions.iter().any(|version| version.text("name") == name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.invalid(&at.index(index), name, &why);
        }
    }
}

#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    Invalid,
    Given,
}

fn approval_of(object: &Value) -> Approval {
    match object.at("metadata").at("annotations").text(APPROVED) {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Given,
        text => match text.split_once("://") {
            Some((scheme, rest)) if !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/') => Approval::Given,
            _ => Approval::Invalid,
        },
    }
}

/// Groups of the Kubernetes community need its approval.
fn approval(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = object.at("spec").text("group");
    let is_protected = ["k8s.io", "kubernetes.io"].iter().any(|community| {
        group
            .strip_suffix(community)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let state = approval_of(object);
    if !is_protected || old.is_some_and(|old| approval_of(old) == state) {
        return;
    }
    let at = Path::new("metadata");
    let at = at.child("annotations");
    let at = at.key(APPROVED);
    match state {
        Approval::Given => {}
        Approval::Missing => {
            let why = format!("protected groups must have approval annotation {APPROVED:?}, {SEE}");
            errors.required(&at, &why);
        }
        Approval::Invalid => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting \
                 with \"unapproved\", {SEE}"
            );
            let given = object.at("metadata").at("annotations").text(APPROVED);
            errors.invalid(&at, given, &why);
        }
    }
}
