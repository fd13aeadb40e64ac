//! ConfigMaps and Secrets: small named data.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, base64, form, metadata};

/// The rules of `configmaps`.
pub(crate) struct ConfigMap;
/// The rules of `secrets`.
pub(crate) struct Secret;

const MOST_BYTES: usize = 1024 * 1024;
const SEALED: &str = "field is immutable when `immutable` is set";

impl Rules for ConfigMap {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        config(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        sealed(object, old, &["data", "binaryData"], &mut errors);
        config(object, &mut errors);
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[age::NAME, text("Data", "How many entries there are."), age::AGE];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let entries = count(object, "data") + count(object, "binaryData");
        vec![column::name(object), entries.into(), age::cell(object, now)]
    }
}

impl Rules for Secret {
    fn default(&self, object: &mut Value) {
        object.or_text("type", "Opaque");
        // What was written as text becomes data; it is never stored or shown as text.
        if let Some(Value::Object(texts)) = object.drop("stringData") {
            let data = object.object("data");
            for (key, value) in texts {
                data.set(&key, base64::encode(value.as_str().unwrap_or_default().as_bytes()));
            }
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        if object.lacks("type") {
            object.take_from("type", old);
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        secret(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        errors.immutable(&Path::new("type"), object.at("type"), old.at("type"));
        sealed(object, old, &["data"], &mut errors);
        secret(object, &mut errors);
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "metadata.namespace", "type"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Type", "What the secret is for."),
            // A number in a column of text, as every client knows it.
            text("Data", "How many entries there are."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.text("type").into(),
            count(object, "data").into(),
            age::cell(object, now),
        ]
    }
}

fn count(object: &Value, name: &str) -> usize {
    object.map(name).map_or(0, serde_json::Map::len)
}

fn sealed(object: &Value, old: &Value, names: &[&'static str], errors: &mut Errors) {
    if !old.is("immutable") {
        return;
    }
    if !object.is("immutable") {
        errors.forbidden(&Path::new("immutable"), SEALED);
    }
    for name in names {
        if !same(object.at(name), old.at(name)) {
            errors.forbidden(&Path::new(name), SEALED);
        }
    }
}

fn config(object: &Value, errors: &mut Errors) {
    let (data, binary) = (Path::new("data"), Path::new("binaryData"));
    let mut size = 0;
    for (key, value) in object.map("data").into_iter().flatten() {
        errors.form(&data.key(key), key, form::config_key);
        if object.at("binaryData").get(key).is_some() {
            errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in object.map("binaryData").into_iter().flatten() {
        errors.form(&binary.key(key), key, form::config_key);
        size += value.as_str().map_or(0, base64::decoded_len);
    }
    if size > MOST_BYTES {
        errors.too_long(&Path::new(""), MOST_BYTES);
    }
}

fn secret(object: &Value, errors: &mut Errors) {
    let at = Path::new("data");
    let data = object.at("data");
    let mut size = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        errors.form(&at.key(key), key, form::config_key);
        size += value.as_str().map_or(0, base64::decoded_len);
    }
    if size > MOST_BYTES {
        errors.too_long(&at, MOST_BYTES);
    }
    let missing = |key: &str| data.get(key).is_none();
    match object.text("type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if object.at("metadata").at("annotations").lacks(key) {
                errors.required(&Path::new("metadata.annotations").key(key), "");
            }
        }
        "kubernetes.io/dockercfg" => docker(data, ".dockercfg", &at, errors),
        "kubernetes.io/dockerconfigjson" => docker(data, ".dockerconfigjson", &at, errors),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            errors.required(&at.key("username"), "");
            errors.required(&at.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if data.lacks("ssh-privatekey") => errors.required(&at.key("ssh-privatekey"), ""),
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if missing(key) {
                    errors.required(&at.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn docker(data: &Value, key: &str, at: &Path<'_>, errors: &mut Errors) {
    let Some(encoded) = data.get(key).and_then(Value::as_str) else {
        errors.required(&at.key(key), "");
        return;
    };
    let good = base64::decode(encoded)
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .is_some_and(|value| value.is_object() || value.is_null());
    if !good {
        errors.invalid(&at.key(key), "<secret contents redacted>", "invalid character in JSON");
    }
}
