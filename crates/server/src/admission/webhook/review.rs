//! AdmissionReviews: the question that is sent, and what an answer must be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use meta::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admission::Review;
use crate::admission::matching::request;
use crate::kinds::Kind;

const VERSION: &str = "admission.k8s.io/v1";

/// A webhook's verdict.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) result: Option<Value>,
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
    pub(super) annotations: Vec<(String, String)>,
}

/// The question, and its uid.
pub(super) fn question(
    review: &Review<'_>,
    kind: &Kind,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(String, Bytes), String> {
    let uid = uuid::Uuid::new_v4().to_string();
    let mut request = request(review, kind);
    request["uid"] = uid.as_str().into();
    request["object"] = object.cloned().unwrap_or_default();
    request["oldObject"] = old.cloned().unwrap_or_default();
    let whole = json!({"kind": "AdmissionReview", "apiVersion": VERSION, "request": request});
    let bytes = serde_json::to_vec(&whole).map_err(|error| error.to_string())?;
    Ok((uid, bytes.into()))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reviewed {
    kind: String,
    api_version: String,
    response: Option<Response>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    warnings: Option<Vec<String>>,
    audit_annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// Reads an answer.
pub(super) fn verdict(bytes: &[u8], uid: &str, mutating: bool) -> Result<Verdict, String> {
    let reviewed: Reviewed =
        serde_json::from_slice(bytes).map_err(|error| format!("failed to call webhook: {error}"))?;
    let invalid = |why: String| Err(format!("received invalid webhook response: {why}"));
    let Some(response) = reviewed.response else {
        return invalid("webhook response was absent".to_owned());
    };
    if response.uid != uid {
        return invalid(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    if reviewed.kind != "AdmissionReview" || reviewed.api_version != VERSION {
        let (version, kind) = (&reviewed.api_version, &reviewed.kind);
        return invalid(format!(
            "expected webhook response of {VERSION}, Kind=AdmissionReview, got {version}, Kind={kind}"
        ));
    }
    let patch = response.patch.filter(|patch| !patch.is_empty());
    match (&patch, response.patch_type.as_deref(), mutating) {
        (Some(_), None, true) => {
            return invalid("webhook returned response.patch but not response.patchType".to_owned());
        }
        (None, Some(_), true) => {
            return invalid("webhook returned response.patchType but not response.patch".to_owned());
        }
        (_, Some(""), true) => return invalid("webhook returned invalid response.patchType of \"\"".to_owned()),
        (Some(_), _, false) => return invalid("validating webhook may not return response.patch".to_owned()),
        (None, Some(_), false) => return invalid("validating webhook may not return response.patchType".to_owned()),
        (Some(_), Some(other), true) if other != "JSONPatch" => {
            return Err(format!("unsupported patch type {other:?}"));
        }
        _ => {}
    }
    let patch = patch.map(|patch| {
        let told = |why: String| format!("received undecodable patch in webhook response: {why}");
        let bytes = STANDARD.decode(patch).map_err(|error| told(error.to_string()))?;
        serde_json::from_slice::<Value>(&bytes).map_err(|error| told(error.to_string()))
    });
    Ok(Verdict {
        allowed: response.allowed,
        result: response.status,
        patch: patch.transpose()?,
        warnings: response.warnings.unwrap_or_default(),
        annotations: response.audit_annotations.into_iter().flatten().collect(),
    })
}

/// The refusal that a webhook's result becomes.
pub(super) fn denied(name: &str, result: Option<&Value>) -> Status {
    let mut status: Status = result
        .and_then(|result| serde_json::from_value(result.clone()).ok())
        .unwrap_or_default();
    let denied = format!("admission webhook {name:?} denied the request");
    let code = result.and_then(|result| result["code"].as_u64()).unwrap_or_default();
    status.code = u16::try_from(code).ok().filter(|code| *code >= 400).unwrap_or(400);
    status.message = match (status.message.as_str(), &*status.reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Vec<u8> {
        let whole = json!({"kind": "AdmissionReview", "apiVersion": VERSION, "response": response});
        serde_json::to_vec(&whole).unwrap()
    }

    #[test]
    fn answers_must_be_whole() {
        let told = |response: Value, mutating| verdict(&answer(response), "1", mutating).map(|_| ()).unwrap_err();
        assert_eq!(
            told(json!({"uid": "2", "allowed": true}), true),
            "received invalid webhook response: expected response.uid=\"1\", got \"2\""
        );
        assert_eq!(
            told(json!({"uid": "1", "allowed": true, "patch": "W10="}), true),
            "received invalid webhook response: webhook returned response.patch but not response.patchType"
        );
        assert_eq!(
            told(
                json!({"uid": "1", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}),
                false
            ),
            "received invalid webhook response: validating webhook may not return response.patch"
        );
        let good = json!({"uid": "1", "allowed": true, "patch": "W10=", "patchType": "JSONPatch", "warnings": ["a"]});
        let good = verdict(&answer(good), "1", true).unwrap();
        assert_eq!((good.patch, good.warnings), (Some(json!([])), vec!["a".to_owned()]));
    }

    #[test]
    fn refusals_are_told_as_in_kubernetes() {
        let told = |result: Option<Value>| {
            let status = denied("a.b.c", result.as_ref());
            (status.code, status.message)
        };
        let denied = "admission webhook \"a.b.c\" denied the request";
        assert_eq!(told(None), (400, format!("{denied} without explanation")));
        let result = json!({"message": "no", "code": 403, "reason": "Forbidden"});
        assert_eq!(told(Some(result)), (403, format!("{denied}: no")));
        let result = json!({"reason": "Forbidden", "code": 200});
        assert_eq!(told(Some(result)), (400, format!("{denied}: Forbidden")));
    }
}
