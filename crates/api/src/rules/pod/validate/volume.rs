//! What volumes must be like.

use std::collections::BTreeMap;

use meta::Path;
use serde_json::Value;

use crate::rules::check::Errors;
use crate::rules::view::View as _;
use crate::rules::{form, persistent_volume_claim, resources};

use super::{certificate, env};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// The well-formed volumes of a pod by name: what containers may mount.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Checks volumes and returns those that are well-formed.
pub(super) fn check<'a>(volumes: &'a [Value], at: &Path<'_>, errors: &mut Errors) -> Volumes<'a> {
    let mut known = Volumes::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = at.index(index);
        let before = errors.0.len();
        source(volume, &at, errors);
        let name = volume.text("name");
        errors.required_form(&at.child("name"), name, form::dns_label);
        if known.contains_key(name) {
            errors.duplicate(&at.child("name"), name);
        }
        if errors.0.len() == before {
            known.insert(name, volume);
        }
    }
    known
}

/// The sources in the order in which they are counted.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source(volume: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut first = true;
    for name in SOURCES {
        let source = volume.at(name);
        if source.is_null() {
            continue;
        }
        let at = at.child(name);
        if !first {
            errors.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        first = false;
        one(name, source, &at, errors);
    }
    if first {
        errors.required(at, "must specify a volume type");
    }
}

fn one(name: &str, source: &Value, at: &Path<'_>, errors: &mut Errors) {
    match name {
        "emptyDir" if resources::parse(source.at("sizeLimit")).is_some_and(meta::Quantity::is_negative) => {
            errors.forbidden(
                &at.child("sizeLimit"),
                "SizeLimit field must be a valid resource quantity",
            );
        }
        "hostPath" => host_path(source, at, errors),
        "secret" => {
            if source.lacks("secretName") {
                errors.required(&at.child("secretName"), "");
            }
            files(source, at, errors);
        }
        "configMap" => {
            if source.lacks("name") {
                errors.required(&at.child("name"), "");
            }
            files(source, at, errors);
        }
        "persistentVolumeClaim" if source.lacks("claimName") => errors.required(&at.child("claimName"), ""),
        "downwardAPI" => {
            mode(source, "defaultMode", at, errors);
            for item in source.list("items") {
                downward_file(item, at, errors);
            }
        }
        "nfs" => {
            for field in ["server", "path"] {
                if source.lacks(field) {
                    errors.required(&at.child(field), "");
                }
            }
            if !source.text("path").starts_with('/') {
                errors.invalid(&at.child("path"), source.text("path"), "must be an absolute path");
            }
        }
        "csi" => errors.required_form(&at.child("driver"), source.text("driver"), form::dns_subdomain),
        "projected" => projected(source, at, errors),
        "ephemeral" => {
            let at = at.child("volumeClaimTemplate");
            if source.has("volumeClaimTemplate") {
                let spec = source.at("volumeClaimTemplate").at("spec");
                persistent_volume_claim::check_spec(spec, &at.child("spec"), errors);
            } else {
                errors.required(&at, "");
            }
        }
        _ => {}
    }
}

/// Checks a host path.
pub(crate) fn host_path(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    let path = source.text("path");
    if path.is_empty() {
        errors.required(&at.child("path"), "");
        return;
    }
    no_backsteps(path, &at.child("path"), errors);
    errors.one_of(&at.child("type"), source.text("type"), &HOST_PATH_TYPES);
}

fn mode(owner: &Value, name: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = owner.int(name)
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(&at.child(name), mode, MODE);
    }
}

fn files(source: &Value, at: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", at, errors);
    let items = at.child("items");
    for (index, item) in source.list("items").iter().enumerate() {
        key_to_path(item, &items.index(index), errors);
    }
}

fn key_to_path(item: &Value, at: &Path<'_>, errors: &mut Errors) {
    for name in ["key", "path"] {
        if item.lacks(name) {
            errors.required(&at.child(name), "");
        }
    }
    local_path(item.text("path"), &at.child("path"), errors);
    mode(item, "mode", at, errors);
}

fn downward_file(item: &Value, at: &Path<'_>, errors: &mut Errors) {
    if item.lacks("path") {
        errors.required(&at.child("path"), "");
    }
    local_path(item.text("path"), &at.child("path"), errors);
    if item.has("fieldRef") {
        env::field_reference(item.at("fieldRef"), env::Place::Volume, &at.child("fieldRef"), errors);
        if item.has("resourceFieldRef") {
            errors.invalid(
                at,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
    } else if item.has("resourceFieldRef") {
        let reference = item.at("resourceFieldRef");
        env::resource_reference(reference, env::Place::Volume, &at.child("resourceFieldRef"), errors);
    } else {
        errors.required(at, "one of fieldRef and resourceFieldRef is required");
    }
    mode(item, "mode", at, errors);
}

fn projected(volume: &Value, at: &Path<'_>, errors: &mut Errors) {
    mode(volume, "defaultMode", at, errors);
    let mut paths: Vec<&str> = Vec::new();
    let sources = at.child("sources");
    for (index, source) in volume.list("sources").iter().enumerate() {
        let each = sources.index(index);
        let mut count = 0;
        for name in ["secret", "configMap"] {
            let part = source.at(name);
            if part.is_null() {
                continue;
            }
            count += 1;
            let below = each.child(name);
            if part.lacks("name") {
                errors.required(&below.child("name"), "");
            }
            let items = below.child("items");
            for (index, item) in part.list("items").iter().enumerate() {
                key_to_path(item, &items.index(index), errors);
                unique(item.text("path"), part.text("name"), &mut paths, at, errors);
            }
        }
        let downward = source.at("downwardAPI");
        if !downward.is_null() {
            count += 1;
            for item in downward.list("items") {
                downward_file(item, &each.child("downwardAPI"), errors);
                unique(item.text("path"), item.text("path"), &mut paths, at, errors);
            }
        }
        let token = source.at("serviceAccountToken");
        if !token.is_null() {
            count += 1;
            service_account_token(token, at, &each.child("serviceAccountToken"), errors);
            unique(token.text("path"), token.text("path"), &mut paths, at, errors);
        }
        let bundle = source.at("clusterTrustBundle");
        if !bundle.is_null() {
            count += 1;
            certificate::trust_bundle(bundle, at, &each.child("clusterTrustBundle"), &mut paths, errors);
        }
        let own = source.at("podCertificate");
        if !own.is_null() {
            count += 1;
            certificate::pod_certificate(own, at, &each.child("podCertificate"), &mut paths, errors);
        }
        if count > 1 {
            errors.forbidden(&each, "may not specify more than 1 volume type per source");
        }
    }
}

pub(super) fn unique<'a>(path: &'a str, shown: &str, paths: &mut Vec<&'a str>, at: &Path<'_>, errors: &mut Errors) {
    if path.is_empty() {
        return;
    }
    if paths.contains(&path) {
        errors.invalid(at, shown, "conflicting duplicate paths");
    } else {
        paths.push(path);
    }
}

fn service_account_token(token: &Value, volume: &Path<'_>, at: &Path<'_>, errors: &mut Errors) {
    let seconds = token.int("expirationSeconds").unwrap_or(0);
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    } else if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    if token.lacks("path") {
        errors.required(&volume.child("path"), "");
    } else {
        local_path(token.text("path"), &at.child("path"), errors);
    }
}

/// The path must be relative and not lead up.
pub(crate) fn descending_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.invalid(at, path, "must be a relative path");
    }
    no_backsteps(path, at, errors);
}

fn no_backsteps(path: &str, at: &Path<'_>, errors: &mut Errors) {
    if path.split('/').any(|step| step == "..") {
        errors.invalid(at, path, "must not contain '..'");
    }
}

pub(super) fn local_path(path: &str, at: &Path<'_>, errors: &mut Errors) {
    descending_path(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.invalid(at, path, "must not start with '..'");
    }
}
