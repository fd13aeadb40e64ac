//! `metav1.Status`: how the API says that something failed, or what it did. Clients read code, reason and details, and
//! people and tests read the message, so that all are Kubernetes' own.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{FieldError, GroupKind, GroupResource, Uid, quote};

/// Why a request failed, as a word that programs look at.
pub type Reason = Cow<'static, str>;

/// The answer to a request that has no object to answer with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, from = "Wire", into = "Wire")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The reason; empty for success.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    /// The object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind or resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// The single causes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Which kind of cause, as a word that programs look at.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Reason,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field that it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Details {
    fn of(resource: &GroupResource, name: &str) -> Self {
        Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        }
    }
}

impl Status {
    /// A failure of this code and reason, without details.
    #[must_use]
    pub fn failure(code: u16, reason: impl Into<Reason>, message: impl Into<String>) -> Self {
        Status {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
        }
    }

    /// Success; a deletion that leaves nothing to answer with names what was deleted.
    #[must_use]
    pub fn success(details: Option<Details>) -> Self {
        Status {
            code: 200,
            reason: Reason::default(),
            message: String::new(),
            details: details.map(Box::new),
        }
    }

    /// Whether it tells of success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code < 400
    }

    /// The same with these details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same with one more cause.
    #[must_use]
    pub fn with_cause(mut self, reason: impl Into<Reason>, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.to_owned(),
        };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// The object isn't there.
    #[must_use]
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::failure(404, "NotFound", format!("{resource} {} not found", quote(name)))
            .with_details(Details::of(resource, name))
    }

    /// The path leads to no resource.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// The object is there already.
    #[must_use]
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::failure(
            409,
            "AlreadyExists",
            format!("{resource} {} already exists", quote(name)),
        )
        .with_details(Details::of(resource, name))
    }

    /// No free name was found for `generateName`.
    #[must_use]
    pub fn generate_name_conflict(resource: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Self::failure(409, "AlreadyExists", message)
            .with_details(Details::of(resource, name))
            .with_retry_after(1)
    }

    /// The object can't be changed this way now.
    #[must_use]
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quote(name));
        Self::failure(409, "Conflict", message).with_details(Details::of(resource, name))
    }

    /// The object isn't at the revision that the client read any more.
    #[must_use]
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// Server-side apply met other owners.
    #[must_use]
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Self {
        Self::failure(409, "Conflict", message).with_details(Details {
            causes,
            ..Details::default()
        })
    }

    /// The object is well formed and wrong.
    #[must_use]
    pub fn invalid(kind: &GroupKind, name: &str, errors: &[FieldError]) -> Self {
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.error.reason().into(),
                message: error.body(),
                field: error.path.clone(),
            })
            .collect();
        let mut message = format!("{kind} {} is invalid", quote(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&aggregate(errors));
        }
        let details = Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..Details::default()
        };
        Self::failure(422, "Invalid", message).with_details(details)
    }

    /// The request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// Nobody is known by these credentials.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// This one may not do that.
    #[must_use]
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", quote(name)),
        };
        Self::failure(403, "Forbidden", message).with_details(Details::of(resource, name))
    }

    /// What was asked for is gone for good.
    #[must_use]
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }

    /// The revision or continuation is too old.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// It took too long.
    #[must_use]
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).with_details(Details {
            retry_after_seconds,
            ..Details::default()
        })
    }

    /// The server can't do this now, and the client shall try again.
    #[must_use]
    pub fn server_timeout(resource: &GroupResource, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        Self::failure(500, "ServerTimeout", message).with_details(Details {
            retry_after_seconds,
            ..Details::of(resource, operation)
        })
    }

    /// The body is too large.
    #[must_use]
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {message}"),
        )
    }

    /// There are too many requests at once, or a disruption budget says wait.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message).with_details(Details {
            retry_after_seconds,
            ..Details::default()
        })
    }

    /// The resource doesn't know this verb.
    #[must_use]
    pub fn method_not_allowed(resource: &GroupResource, action: &str) -> Self {
        let message = format!(
            "{action} is not supported on resources of kind {}",
            quote(&resource.to_string())
        );
        Self::failure(405, "MethodNotAllowed", message).with_details(Details::of(resource, ""))
    }

    /// The request's body is of a type that isn't read here.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// The answer can't be written in a type that the client accepts.
    #[must_use]
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, "NotAcceptable", message)
    }

    /// Something is wrong with the server.
    #[must_use]
    pub fn internal(error: impl fmt::Display) -> Self {
        let message = error.to_string();
        let cause = Cause {
            message: message.clone(),
            ..Cause::default()
        };
        Self::failure(500, "InternalError", format!("Internal error occurred: {message}")).with_details(Details {
            causes: vec![cause],
            ..Details::default()
        })
    }

    /// What would answer isn't there now.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// As a tree, with apiVersion and kind.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// As JSON text, fields in Kubernetes' order.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// Several errors as one text: one is itself, more stand in brackets, equal ones once.
fn aggregate(errors: &[FieldError]) -> String {
    let mut seen: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    if seen.len() == 1 {
        seen.swap_remove(0)
    } else {
        format!("[{}]", seen.join(", "))
    }
}

/// The JSON form, in Kubernetes' order of fields.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    kind: Cow<'static, str>,
    api_version: Cow<'static, str>,
    metadata: serde_json::Map<String, Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    status: Cow<'static, str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Box<Details>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl From<Status> for Wire {
    fn from(status: Status) -> Self {
        Wire {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: serde_json::Map::new(),
            status: if status.is_success() {
                "Success".into()
            } else {
                "Failure".into()
            },
            message: status.message,
            reason: status.reason,
            details: status.details,
            // Kubernetes leaves it out of an answer that says no more than that all is well.
            code: (status.code != 200).then_some(status.code),
        }
    }
}

impl From<Wire> for Status {
    fn from(wire: Wire) -> Self {
        let code = wire.code.unwrap_or(if wire.status == "Success" { 200 } else { 500 });
        Status {
            code,
            reason: wire.reason,
            message: wire.message,
            details: wire.details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> GroupResource {
        GroupResource::new("", "pods")
    }

    #[test]
    fn is_written_as_kubernetes_writes_it() {
        let status = Status::not_found(&GroupResource::new("apps", "deployments"), "web");
        assert_eq!(
            String::from_utf8(status.to_json()).unwrap(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" not found","reason":"NotFound","details":{"name":"web","group":"apps","kind":"deployments"},"code":404}"#
        );
        assert_eq!(serde_json::from_slice::<Status>(&status.to_json()).unwrap(), status);
    }

    #[test]
    fn invalid_lists_each_error_once() {
        let kind = GroupKind::new("", "Pod");
        let one = FieldError::required("spec.containers", "");
        let status = Status::invalid(&kind, "x", &[one.clone(), one.clone()]);
        assert_eq!(status.message, r#"Pod "x" is invalid: spec.containers: Required value"#);
        let status = Status::invalid(&kind, "x", &[one, FieldError::invalid("a", 1, "no")]);
        assert_eq!(
            status.message,
            r#"Pod "x" is invalid: [spec.containers: Required value, a: Invalid value: 1: no]"#
        );
        assert_eq!(
            status.to_value()["details"]["causes"][1],
            json!({"reason": "FieldValueInvalid", "message": "Invalid value: 1: no", "field": "a"})
        );
    }

    #[test]
    fn says_what_kubernetes_says() {
        let check = |status: Status, code: u16, reason: &str, message: &str| {
            assert_eq!(
                (status.code, &*status.reason, status.message.as_str()),
                (code, reason, message)
            );
        };
        check(
            Status::already_exists(&pods(), "a"),
            409,
            "AlreadyExists",
            r#"pods "a" already exists"#,
        );
        check(
            Status::modified(&pods(), "a"),
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to \
             the latest version and try again",
        );
        check(
            Status::forbidden(&pods(), "", "no"),
            403,
            "Forbidden",
            "pods is forbidden: no",
        );
        check(
            Status::forbidden(&pods(), "a", "no"),
            403,
            "Forbidden",
            r#"pods "a" is forbidden: no"#,
        );
        check(
            Status::too_large("limit is 1"),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 1",
        );
        check(
            Status::internal("oops"),
            500,
            "InternalError",
            "Internal error occurred: oops",
        );
        check(Status::timeout("slow", 0), 504, "Timeout", "Timeout: slow");
        check(
            Status::method_not_allowed(&pods(), "patch"),
            405,
            "MethodNotAllowed",
            r#"patch is not supported on resources of kind "pods""#,
        );
        assert_eq!(Status::success(None).to_value()["status"], "Success");
    }
}
