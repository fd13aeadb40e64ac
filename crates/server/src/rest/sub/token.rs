//! Tokens for service accounts, by request.

use http::StatusCode;
use meta::{FieldError, GroupKind, ObjectKey, Status};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::admission::{Operation, Review};
use crate::authn::token::{Bound, Claims, reference, sign};
use crate::object::{self, text};
use crate::rest::{decode, update};

const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
const DEFAULT_SECONDS: i64 = 3600;
/// What a pod's volume asks for; such a token really lasts for a year, and its user is warned when it isn't renewed.
const POD_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Answers a POST to `serviceaccounts/NAME/token`.
pub(super) async fn request(call: &Call) -> Result<Answer, Status> {
    let mut request = decode::other(call, "authentication.k8s.io/v1", "TokenRequest")?;
    let (namespace, name) = (call.namespace().unwrap_or_default(), call.name()?);
    let account = update::current(&call.core, &call.kind, Some(namespace), name).await?;
    let account = account.ok_or_else(|| call.kind.not_found(name))?.tree;
    check(&mut request, name)?;
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["kind"] = json!("TokenRequest");
    let review = Review {
        call,
        core: &call.core,
        user: &call.user,
        kind: &call.kind,
        namespace,
        name,
        subresource: "token",
        operation: Operation::Create,
        old: None,
    };
    call.core.admission.pass(&review, &mut request).await?;
    let mut bound = Bound {
        namespace: namespace.to_owned(),
        serviceaccount: reference(&account),
        ..Bound::default()
    };
    bind(call, namespace, &request["spec"]["boundObjectRef"], &mut bound).await?;
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let now = jiff::Timestamp::now().as_second();
    let for_api = request["spec"]["audiences"]
        .as_array()
        .is_none_or(|list| list.is_empty() || list == &[json!(call.core.issuer())]);
    let mut lasts = seconds;
    if seconds == POD_SECONDS && bound.pod.is_some() && for_api {
        bound.warnafter = Some(now + seconds);
        lasts = EXTENDED_SECONDS;
    }
    let audiences = audiences(call, &mut request);
    let claims = Claims {
        aud: audiences,
        exp: now + lasts,
        iat: now,
        iss: call.core.issuer(),
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes: bound,
        nbf: now,
        sub: crate::user::service_account_name(namespace, name),
    };
    let token = sign(&call.core, &claims).map_err(Status::internal)?;
    let until = jiff::Timestamp::from_second(now + seconds)
        .map(meta::time::format_seconds)
        .unwrap_or_default();
    request["metadata"] = json!({"name": name, "namespace": namespace, "creationTimestamp": meta::time::now()});
    request["status"] = json!({"token": token, "expirationTimestamp": until});
    Ok(Answer::Tree {
        code: StatusCode::CREATED,
        object: request,
    })
}

fn audiences(call: &Call, request: &mut Value) -> Vec<String> {
    let given = request["spec"]["audiences"].as_array().cloned().unwrap_or_default();
    let mut audiences: Vec<String> = given.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(call.core.issuer());
        request["spec"]["audiences"] = json!(audiences);
    }
    audiences
}

fn check(request: &mut Value, name: &str) -> Result<(), Status> {
    if !request["spec"].is_object() {
        request["spec"] = json!({});
    }
    let seconds = match request["spec"]["expirationSeconds"].as_i64() {
        Some(seconds) => seconds,
        None => {
            request["spec"]["expirationSeconds"] = DEFAULT_SECONDS.into();
            DEFAULT_SECONDS
        }
    };
    let path = "spec.expirationSeconds";
    let error = if seconds < MIN_SECONDS {
        FieldError::invalid(path, seconds, "may not specify a duration less than 10 minutes")
    } else if seconds > MAX_SECONDS {
        FieldError::invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")
    } else {
        return Ok(());
    };
    Err(Status::invalid(
        &GroupKind::new("authentication.k8s.io", "TokenRequest"),
        name,
        &[error],
    ))
}

/// Finds the object that the token is bound to.
async fn bind(call: &Call, namespace: &str, wanted: &Value, bound: &mut Bound) -> Result<(), Status> {
    if wanted.is_null() {
        return Ok(());
    }
    let (kind, name, uid) = (text(wanted, &["kind"]), text(wanted, &["name"]), text(wanted, &["uid"]));
    let find = |plural, key| find(call, plural, key, uid);
    match kind {
        "Pod" => {
            let pod = find("pods", ObjectKey::namespaced(namespace, name)).await?;
            let account = text(&pod, &["spec", "serviceAccountName"]);
            if account != call.name()? {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()?
                )));
            }
            let node = text(&pod, &["spec", "nodeName"]).to_owned();
            bound.pod = Some(reference(&pod));
            if !node.is_empty() {
                let node = call.core.fresh_tree("", "nodes", &ObjectKey::cluster(node)).await?;
                bound.node = node.as_ref().map(reference);
            }
        }
        "Secret" => {
            bound.secret = Some(reference(
                &find("secrets", ObjectKey::namespaced(namespace, name)).await?,
            ))
        }
        "Node" => bound.node = Some(reference(&find("nodes", ObjectKey::cluster(name)).await?)),
        other => {
            let api_version = text(wanted, &["apiVersion"]);
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {api_version}, Kind={other}"
            )));
        }
    }
    Ok(())
}

async fn find(call: &Call, plural: &'static str, key: ObjectKey, uid: &str) -> Result<Value, Status> {
    let resource = meta::GroupResource::new("", plural);
    let found = call.core.fresh_tree("", plural, &key).await?;
    let found = found.ok_or_else(|| Status::not_found(&resource, &key.name))?;
    if !uid.is_empty() && uid != object::uid(&found) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::conflict(&resource, &key.name, why));
    }
    Ok(found)
}
