//! The cluster's image registry on the API's port: who asks and whether they may is settled here, in the API's way; what
//! is answered is somebody else's.
//!
//! `docker login` sends a name and a password: the password is a token, the name means nothing.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::json;

use crate::authn;
use crate::authz::{Attributes, Decision};
use crate::core::Core;
use crate::handle::Identity;
use crate::http::Body;
use crate::http::body::Incoming;
use crate::http::path::RequestInfo;
use crate::http::query::Query;
use crate::user::User;

/// Answers requests that are allowed.
pub type Mounted = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Answer>> + Send + Sync>;
/// The body of such an answer.
pub type Answer = UnsyncBoxBody<Bytes, io::Error>;

/// Whether a path is the registry's.
pub(crate) fn owns(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// Answers a request for the registry.
pub(crate) async fn answer(
    core: &Core,
    mounted: Mounted,
    mut parts: Parts,
    body: Incoming,
    identity: Identity,
) -> Response<Body> {
    password_is_token(&mut parts.headers);
    let user = match identity {
        Identity::InProcess(user) => (*user).clone(),
        Identity::Network(peer) => {
            match authn::authenticate(core, parts.uri.path(), &parts.headers, peer.as_ref()).await {
                Ok(user) => user,
                Err(_) => {
                    return refused(
                        StatusCode::UNAUTHORIZED,
                        "UNAUTHORIZED",
                        "these credentials are not valid",
                    );
                }
            }
        }
    };
    let query = Query::parse(parts.uri.query());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    if let Decision::NoOpinion(_) = core.decide(&Attributes::of(&user, &info, "")) {
        return if is_anonymous(&user) {
            let text = "log in with a token as the password: `kubectl create token NAME` makes one";
            refused(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text)
        } else {
            let text = format!("{:?} may not {} {}", user.name, info.verb, info.path);
            refused(StatusCode::FORBIDDEN, "DENIED", &text)
        };
    }
    parts.headers.remove(AUTHORIZATION);
    let answer = mounted(Request::from_parts(parts, body)).await;
    answer.map(|body| Body::stream(body.into_data_stream()))
}

fn is_anonymous(user: &User) -> bool {
    user.name == User::anonymous().name
}

fn password_is_token(headers: &mut HeaderMap) {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(("Basic" | "basic", encoded)) = value.and_then(|value| value.split_once(' ')) else {
        return;
    };
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let token = text
        .as_deref()
        .and_then(|text| text.split_once(':'))
        .map_or("", |(_, password)| password);
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        headers.insert(AUTHORIZATION, value);
    }
}

fn refused(status: StatusCode, code: &str, text: &str) -> Response<Body> {
    let document = json!({"errors": [{"code": code, "message": text, "detail": null}]});
    let mut response = Response::new(Body::full(document.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"gantry\""));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_for_a_token() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YW55OnQwa2Vu"));
        password_is_token(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer t0ken");
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        password_is_token(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer x");
    }

    #[test]
    fn other_paths_are_not_the_registry_s() {
        assert!(owns("/v2/") && owns("/v2") && owns("/v2/a/tags/list"));
        assert!(!owns("/v2x") && !owns("/api/v2/"));
    }
}
