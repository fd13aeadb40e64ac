//! Whose token is this, and who am I.

use http::StatusCode;
use meta::{FieldError, Status};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::authn;
use crate::object::text;
use crate::rest::decode;
use crate::rest::options::WriteOptions;

/// Answers TokenReview.
pub(super) async fn review(call: &Call) -> Result<Answer, Status> {
    let mut object = decode::object(call, &WriteOptions::parse(call, "CreateOptions")?)?;
    let presented = text(&object, &["spec", "token"]).to_owned();
    if presented.is_empty() {
        let error = FieldError::required("spec.token", "");
        return Err(Status::invalid(&call.kind.group_kind, "", &[error]));
    }
    let audiences = object
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let audiences: Vec<String> = audiences.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    object["status"] = match authn::by_token(&call.core, &presented, &audiences).await {
        Ok(found) => json!({"authenticated": true, "user": found.user.to_json(), "audiences": found.audiences}),
        Err(why) => json!({"authenticated": false, "error": format!("[invalid bearer token, {why}]"), "user": {}}),
    };
    if !object["metadata"].is_object() {
        object["metadata"] = json!({"creationTimestamp": null});
    }
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object,
    })
}

/// Answers SelfSubjectReview.
pub(super) fn myself(call: &Call) -> Result<Answer, Status> {
    let mut object = decode::object(call, &WriteOptions::parse(call, "CreateOptions")?)?;
    object["metadata"] = json!({"creationTimestamp": meta::time::now()});
    object["status"] = json!({"userInfo": call.user.to_json()});
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object,
    })
}
