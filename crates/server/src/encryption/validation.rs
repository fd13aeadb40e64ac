//! What an `EncryptionConfiguration` may be, with the paths and the words that kube-apiserver has for what it may not
//! (`k8s.io/apiserver/pkg/apis/apiserver/validation`).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::FieldError;
use serde_json::json;

use super::config::{EncryptionConfiguration, Keys, Kms, ProviderConfiguration};

/// The lengths of keys for AES, in bytes.
const AES: &[usize] = &[16, 24, 32];
/// The length of keys for secretbox.
const SECRETBOX: &[usize] = &[32];

/// What is wrong with a configuration. `reload`: it is read again when it changes.
pub(super) fn validate(configuration: &EncryptionConfiguration, reload: bool) -> Vec<FieldError> {
    if configuration.resources.is_empty() {
        return vec![FieldError::required("resources", "at least one resources is required")];
    }
    let (mut errors, mut names) = (Vec::new(), BTreeSet::new());
    for (index, of_resources) in configuration.resources.iter().enumerate() {
        let (at, providers) = (
            format!("resources[{index}].resources"),
            format!("resources[{index}].providers"),
        );
        if of_resources.resources.is_empty() {
            errors.push(FieldError::required(&at, format!("at least one {at} is required")));
        }
        overlaps(&of_resources.resources, &at, &mut errors);
        for (index, name) in of_resources.resources.iter().enumerate() {
            if let Some(why) = wrong_name(name) {
                errors.push(FieldError::invalid(format!("{at}[{index}]"), name.as_str(), why));
            }
        }
        if of_resources.providers.is_empty() {
            let why = format!("at least one {providers} is required");
            errors.push(FieldError::required(&providers, why));
        }
        for (index, provider) in of_resources.providers.iter().enumerate() {
            one_provider(provider, &format!("{providers}[{index}]"), &mut errors);
            if let Some(kms) = &provider.kms {
                let at = format!("{providers}[{index}].kms");
                service(kms, &at, reload || kms.api_version() != "v1", &names, &mut errors);
                names.insert(kms.name.clone());
            }
        }
    }
    masked(configuration, &mut errors);
    errors
}

/// `RESOURCE.GROUP` in its two parts.
pub(super) fn group_resource(name: &str) -> (&str, &str) {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    (group, resource)
}

fn overlaps(names: &[String], at: &str, errors: &mut Vec<FieldError>) {
    let parsed: Vec<(&str, &str)> = names.iter().map(|name| group_resource(name)).collect();
    let (mut same, mut overlap) = (false, false);
    for (index, one) in parsed.iter().enumerate() {
        for other in &parsed[index + 1..] {
            if one == other {
                same = true;
            } else {
                let (first, second) = (*one, *other);
                overlap |= first == ("*", "*") || second == ("*", "*");
                overlap |= first.0 == second.0 && (first.1 == "*" || second.1 == "*");
            }
        }
    }
    if same {
        let why = "the same resource cannot be specified multiple times";
        errors.push(FieldError::invalid(at, json!(names), why));
    }
    if overlap {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as \
                   they will be masked";
        errors.push(FieldError::invalid(at, json!(names), why));
    }
}

fn wrong_name(name: &str) -> Option<&'static str> {
    let (group, resource) = group_resource(name);
    if name.to_lowercase() != name {
        return Some("resource name should not contain capital letters");
    }
    match name {
        "*" => {
            return Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources");
        }
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            return Some("resources which do not have REST API/s cannot be encrypted");
        }
        _ => {}
    }
    match group {
        "events.k8s.io" => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file",
        ),
        "extensions" => Some("'extensions' group has been removed and cannot be used for encryption"),
        "*" if resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

/// A rule for what an earlier one with a wildcard has taken already would never be looked at.
fn masked(configuration: &EncryptionConfiguration, errors: &mut Vec<FieldError>) {
    let mut earlier: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, of_resources) in configuration.resources.iter().enumerate() {
        let names = of_resources.resources.iter().map(|name| group_resource(name));
        let names: Vec<(&str, &str)> = names.collect();
        for (at, (group, resource)) in names.iter().enumerate() {
            for wide in [(*group, "*"), ("*", "*")] {
                if earlier.contains(&wide) {
                    let why = format!(
                        "resource {:?} is masked by earlier rule {:?}",
                        shown(group, resource),
                        shown(wide.0, wide.1)
                    );
                    let path = format!("resources[{index}].resources[{at}]");
                    errors.push(FieldError::invalid(path, of_resources.resources[at].as_str(), why));
                    break;
                }
            }
        }
        earlier.extend(names);
    }
}

fn shown(group: &str, resource: &str) -> String {
    match (group, resource) {
        ("", "*") => "*.".to_owned(),
        ("", resource) => resource.to_owned(),
        (group, resource) => format!("{resource}.{group}"),
    }
}

fn one_provider(provider: &ProviderConfiguration, at: &str, errors: &mut Vec<FieldError>) {
    let ProviderConfiguration {
        aesgcm,
        aescbc,
        secretbox,
        identity,
        kms,
    } = provider;
    let there = [
        aesgcm.is_some(),
        aescbc.is_some(),
        secretbox.is_some(),
        identity.is_some(),
        kms.is_some(),
    ];
    match there.into_iter().filter(|there| *there).count() {
        0 => {
            let why =
                "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
            errors.push(FieldError::invalid(at, json!({}), why));
        }
        1 => {}
        _ => {
            let why = "more than one provider specified in a single element, should split into different list elements";
            errors.push(FieldError::invalid(at, "REDACTED", why));
        }
    }
    for (name, of_provider, lengths) in [
        ("aesgcm", aesgcm, AES),
        ("aescbc", aescbc, AES),
        ("secretbox", secretbox, SECRETBOX),
    ] {
        if let Some(of_provider) = of_provider {
            keys(of_provider, &format!("{at}.{name}.keys"), lengths, errors);
        }
    }
}

fn keys(keys: &Keys, at: &str, lengths: &[usize], errors: &mut Vec<FieldError>) {
    if keys.keys.is_empty() {
        errors.push(FieldError::required(at, "at least one keys is required"));
    }
    for (index, key) in keys.keys.iter().enumerate() {
        if key.name.is_empty() {
            let why = "name is a mandatory field for a key";
            errors.push(FieldError::required(format!("{at}[{index}].name"), why));
        }
        let path = format!("{at}[{index}].secret");
        if key.secret.is_empty() {
            errors.push(FieldError::required(path, "secret is a mandatory field for a key"));
            continue;
        }
        match STANDARD.decode(&key.secret) {
            Err(_) => errors.push(FieldError::invalid(path, "REDACTED", "secrets must be base64 encoded")),
            Ok(secret) if !lengths.contains(&secret.len()) => {
                let expected: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                let why = format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    secret.len(),
                    expected.join(" ")
                );
                errors.push(FieldError::invalid(path, "REDACTED", why));
            }
            Ok(_) => {}
        }
    }
}

fn service(kms: &Kms, at: &str, is_unique: bool, names: &BTreeSet<String>, errors: &mut Vec<FieldError>) {
    let name = format!("{at}.name");
    if kms.name.is_empty() {
        errors.push(FieldError::required(&name, "name is a mandatory field for a provider"));
    }
    if kms.api_version() != "v1" && kms.name.contains(':') {
        let why = format!("invalid KMS provider name {}, must not contain ':'", kms.name);
        errors.push(FieldError::invalid(&name, kms.name.as_str(), why));
    }
    if is_unique && names.contains(&kms.name) {
        let why = format!("duplicate KMS provider name {}, names must be unique", kms.name);
        errors.push(FieldError::invalid(&name, kms.name.as_str(), why));
    }
    if kms.timeout().is_none() {
        let why = "timeout should be a positive value";
        errors.push(FieldError::invalid(format!("{at}.timeout"), kms.given_timeout(), why));
    }
    let endpoint = format!("{at}.endpoint");
    match kms.endpoint.split_once("://") {
        _ if kms.endpoint.is_empty() => {
            let why = "endpoint is a mandatory field for a kms";
            errors.push(FieldError::invalid(endpoint, "", why));
        }
        Some(("unix", _)) => {}
        other => {
            let scheme = other.map_or("", |(scheme, _)| scheme);
            let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
            errors.push(FieldError::invalid(endpoint, kms.endpoint.as_str(), why));
        }
    }
    if let Some(size) = kms.cachesize.filter(|_| kms.api_version() != "v1") {
        let why = "cachesize is not supported in v2";
        errors.push(FieldError::invalid(format!("{at}.cachesize"), size, why));
    }
    match kms.api_version() {
        "v2" => {}
        "v1" => {
            let why = "KMSv1 is deprecated and not served any more: use v2";
            errors.push(FieldError::invalid(format!("{at}.apiVersion"), "v1", why));
        }
        other => {
            let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
            errors.push(FieldError::invalid(format!("{at}.apiVersion"), other, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn check(resources: &str, expected: &str) {
        let text = format!(
            "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: {resources}}}"
        );
        let found = EncryptionConfiguration::parse(&text, false).map(drop);
        match expected {
            "" => assert_eq!(found, Ok(())),
            _ => assert_eq!(found, Err(expected.to_owned()), "{resources}"),
        }
    }

    #[test]
    fn what_kube_apiserver_takes_is_taken() {
        let gcm = format!("{{aesgcm: {{keys: [{{name: a, secret: {KEY}}}]}}}}");
        check(
            &format!("[{{resources: [secrets, deployments.apps], providers: [{gcm}, {{identity: {{}}}}]}}]"),
            "",
        );
        check(
            &format!(
                "[{{resources: [events], providers: [{{identity: {{}}}}]}}, {{resources: ['*.'], providers: [{gcm}]}}, \
                 {{resources: ['*.*'], providers: [{{kms: {{apiVersion: v2, name: k, endpoint: 'unix:///run/k.sock', \
                 timeout: 1s}}}}]}}]"
            ),
            "",
        );
    }

    #[test]
    fn names_are_told_by_their_paths() {
        let with = |names: &str| format!("[{{resources: {names}, providers: [{{identity: {{}}}}]}}]");
        check("[]", "resources: Required value: at least one resources is required");
        check(
            &with("[]"),
            "resources[0].resources: Required value: at least one resources[0].resources is required",
        );
        check(
            &with("[secrets, '*.']"),
            "resources[0].resources: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' \
             and '*.' in the same resource list is not allowed as they will be masked",
        );
        check(
            &with("[Secrets]"),
            "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters",
        );
        check(
            &with("['pods.*']"),
            "resources[0].resources[0]: Invalid value: \"pods.*\": encrypting the same resource across groups is not \
             supported",
        );
        let identity = "providers: [{identity: {}}]";
        check(
            &format!("[{{resources: ['*.'], {identity}}}, {{resources: [secrets], {identity}}}]"),
            "resources[1].resources[0]: Invalid value: \"secrets\": resource \"secrets\" is masked by earlier rule \"*.\"",
        );
    }

    #[test]
    fn keys_are_never_shown() {
        let with = |provider: &str| format!("[{{resources: [secrets], providers: [{provider}]}}]");
        let at = "resources[0].providers[0]";
        check(
            &with("{aescbc: {keys: [{name: a, secret: c2hvcnQ=}]}}"),
            &format!(
                "{at}.aescbc.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 5, \
                 expected one of [16 24 32]"
            ),
        );
        check(
            &with("{secretbox: {keys: [{secret: '***'}]}}"),
            &format!(
                "[{at}.secretbox.keys[0].name: Required value: name is a mandatory field for a key, \
                 {at}.secretbox.keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64 encoded]"
            ),
        );
        check(
            &with("{kms: {apiVersion: v2, name: 'a:b', endpoint: 'tcp://x'}}"),
            &format!(
                "[{at}.kms.name: Invalid value: \"a:b\": invalid KMS provider name a:b, must not contain ':', \
                 {at}.kms.endpoint: Invalid value: \"tcp://x\": unsupported scheme \"tcp\" for KMS provider, only unix is \
                 supported]"
            ),
        );
    }
}
