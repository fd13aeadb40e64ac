//! An audit event as it is written: audit.k8s.io/v1 `Event`.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event>

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::http::path::ResourcePath;
use crate::user::User;

/// An event. What isn't known yet is left out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: Level,
    #[serde(rename = "auditID")]
    pub(super) audit_id: String,
    pub(super) stage: Stage,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: String,
    pub(super) verb: &'static str,
    pub(super) user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub(super) source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<Value>,
    pub(super) request_received_timestamp: String,
    pub(super) stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Event {
    /// As a line of the log.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A user as events have them.
pub(super) fn user(user: &User) -> Value {
    let mut told = json!({});
    if !user.name.is_empty() {
        told["username"] = user.name.as_str().into();
    }
    if !user.uid.is_empty() {
        told["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        told["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        told["extra"] = json!(user.extra);
    }
    told
}

/// The object that a path names.
pub(super) fn object_ref(path: &ResourcePath) -> Map<String, Value> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let parts = [
        ("resource", path.resource.clone()),
        ("namespace", text(&path.namespace)),
        ("name", text(&path.name)),
        ("apiGroup", path.group.clone()),
        ("apiVersion", path.version.clone()),
        ("subresource", text(&path.subresource)),
    ];
    let named = parts.into_iter().filter(|(_, value)| !value.is_empty());
    named.map(|(key, value)| (key.to_owned(), value.into())).collect()
}

/// What a refusal says, without what could be secret or long.
pub(super) fn response_status(code: u16, status: Option<&Value>) -> Value {
    let mut told = json!({"metadata": {}, "code": code});
    for key in ["status", "message", "reason", "details"] {
        if let Some(value) = status.and_then(|status| status.get(key)) {
            told[key] = value.clone();
        }
    }
    told
}

/// Removes `managedFields` from an object, or from the items of a list.
pub(super) fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for item in object
        .get_mut("items")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        without_managed_fields(item);
    }
}
