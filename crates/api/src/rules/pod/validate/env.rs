//! What environment variables, and the references to fields of the pod, must be like.

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::form;
use crate::rules::view::View as _;

/// Where a field of the pod is referred to: not all are known everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An environment variable.
    Env,
    /// A file in a volume.
    Volume,
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Every field path that can be converted at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Checks `env`.
pub(super) fn variables(variables: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, variable) in variables.iter().enumerate() {
        let at = at.index(index);
        errors.required_form(&at.child("name"), variable.text("name"), form::env_var_name);
        let source = variable.at("valueFrom");
        if source.is_null() {
            continue;
        }
        let at = at.child("valueFrom");
        let count = value_from(source, &at, errors);
        if count == 0 {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.invalid(&at, "", detail);
        } else if !variable.lacks("value") {
            errors.invalid(&at, "", "may not be specified when `value` is not empty");
        } else if count > 1 {
            errors.invalid(&at, "", "may not have more than one field specified at a time");
        }
    }
}

fn value_from(source: &Value, at: &Path<'_>, errors: &mut Errors) -> usize {
    let mut count = 0;
    if source.has("fieldRef") {
        count += 1;
        field_reference(source.at("fieldRef"), Place::Env, &at.child("fieldRef"), errors);
    }
    if source.has("resourceFieldRef") {
        count += 1;
        resource_reference(
            source.at("resourceFieldRef"),
            Place::Env,
            &at.child("resourceFieldRef"),
            errors,
        );
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let reference = source.at(name);
        if reference.is_null() {
            continue;
        }
        count += 1;
        let at = at.child(name);
        errors.form(&at.child("name"), reference.text("name"), form::dns_subdomain);
        errors.required_form(&at.child("key"), reference.text("key"), form::config_key);
    }
    let file = source.at("fileKeyRef");
    if !file.is_null() {
        count += 1;
        let at = at.child("fileKeyRef");
        errors.required_form(&at.child("key"), file.text("key"), form::env_var_name);
        for name in ["volumeName", "path"] {
            if file.lacks(name) {
                errors.required(&at.child(name), "");
            }
        }
    }
    count
}

/// Checks `envFrom`.
pub(super) fn sources(sources: &[Value], at: &Path<'_>, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        let each = at.index(index);
        if !source.lacks("prefix") {
            errors.form(&each.child("prefix"), source.text("prefix"), form::env_var_name);
        }
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            if source.has(name) {
                count += 1;
                let at = each.child(name);
                errors.required_form(&at.child("name"), source.at(name).text("name"), form::dns_subdomain);
            }
        }
        if count == 0 {
            errors.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if count > 1 {
            errors.invalid(at, "", "may not have more than one field specified at a time");
        }
    }
}

/// Checks a reference to a field of the pod.
pub(super) fn field_reference(reference: &Value, place: Place, at: &Path<'_>, errors: &mut Errors) {
    for name in ["apiVersion", "fieldPath"] {
        if reference.lacks(name) {
            errors.required(&at.child(name), "");
            return;
        }
    }
    let path = reference.text("fieldPath");
    let subscript = path
        .split_once("['")
        .and_then(|(path, rest)| Some((path, rest.strip_suffix("']")?)));
    if let Some((path, key)) = subscript {
        match path {
            "metadata.annotations" => errors.invalid_each(at, key, form::qualified_name(&key.to_ascii_lowercase())),
            "metadata.labels" => errors.invalid_each(at, key, form::qualified_name(key)),
            _ => errors.invalid(at, path, "does not support subscript"),
        }
        return;
    }
    if !KNOWN_FIELDS.contains(&path) {
        let detail = format!("error converting fieldPath: field label not supported: {path}");
        errors.invalid(&at.child("fieldPath"), path, &detail);
        return;
    }
    let known = if place == Place::Env { ENV_FIELDS } else { VOLUME_FIELDS };
    errors.one_of(&at.child("fieldPath"), path, known);
}

/// Checks a reference to a resource of a container.
pub(super) fn resource_reference(reference: &Value, place: Place, at: &Path<'_>, errors: &mut Errors) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if place == Place::Volume && reference.lacks("containerName") {
        errors.required(&at.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&at.child("resource"), "");
    } else if !huge {
        errors.one_of(&at.child("resource"), resource, RESOURCES);
    }
    divisor(reference, resource, at, errors);
}

fn divisor(reference: &Value, resource: &str, at: &Path<'_>, errors: &mut Errors) {
    let divisor = match reference.at("divisor") {
        Value::String(text) if text != "0" => text.as_str(),
        Value::Number(number) if number.as_i64() == Some(1) => "1",
        _ => return,
    };
    if resource.ends_with(".cpu") {
        if !matches!(divisor, "1m" | "1") {
            let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
            errors.invalid(&at.child("divisor"), resource, detail);
        }
        return;
    }
    let units = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    if units.contains(&divisor) {
        return;
    }
    let what = match resource {
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if resource.contains("hugepages-") => "hugepages",
        _ => return,
    };
    let detail = format!(
        "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {what} resource"
    );
    errors.invalid(&at.child("divisor"), resource, &detail);
}
