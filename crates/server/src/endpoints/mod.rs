//! The paths that are no resources: discovery, OpenAPI, health, version, metrics, token issuer discovery, and the
//! nodes' tunnel.

mod descriptions;
mod discovery;
pub(crate) mod health;
mod openapi;
mod tunnel;
mod version;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use meta::Status;
use serde_json::{Value, json};

use crate::core::Core;
use crate::handle::text;
use crate::http::Body;
use crate::http::path::RequestInfo;
use crate::http::query::Query;
use crate::user::User;

pub(crate) use discovery::Documents;

/// Answers a request that is for no resource.
pub(crate) async fn serve(
    core: &Arc<Core>,
    user: &User,
    parts: &mut Parts,
    query: &Query,
    info: &RequestInfo,
) -> Result<Response<Body>, Status> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n"));
    }
    let words: Vec<&str> = info.path.split('/').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["healthz" | "livez" | "readyz", rest @ ..] => Ok(health::check(core, words[0], rest, query).await),
        ["version"] => json_response(&version::info()),
        ["metrics"] => Ok(metrics(core)),
        ["openapi", rest @ ..] => openapi::serve(core, user, rest, parts, query).await,
        ["api" | "apis", ..] => discovery::serve(core, &words, parts),
        [".well-known", "openid-configuration"] => json_response(&issuer(core)),
        ["openid", "v1", "jwks"] => jwks(core),
        ["gantry", "v1", "tunnel"] => tunnel::open(core, user, parts),
        [] => json_response(&paths(core)),
        _ => Ok(not_found()),
    }
}

/// What Kubernetes answers to a path that nobody serves.
pub(crate) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn json_response(value: &Value) -> Result<Response<Body>, Status> {
    let bytes = serde_json::to_vec_pretty(value).map_err(Status::internal)?;
    Ok(response("application/json", bytes))
}

fn response(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn metrics(core: &Core) -> Response<Body> {
    let mut text = core.metrics.text() + &core.aggregation.metrics();
    core.others.write_metrics(&mut text);
    core.at_rest.write_metrics(&mut text);
    response("text/plain; version=0.0.4; charset=utf-8", text)
}

fn issuer(core: &Core) -> Value {
    let issuer = core.issuer();
    json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{}:{}/openid/v1/jwks", core.config.advertise_address, core.config.listen.port()),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn jwks(core: &Core) -> Result<Response<Body>, Status> {
    let bytes = serde_json::to_vec(&core.pki.token_key.jwks()).map_err(Status::internal)?;
    Ok(response("application/jwk-set+json", bytes))
}

/// The list of paths that a browser sees first.
fn paths(core: &Core) -> Value {
    let mut paths = vec![
        "/.well-known/openid-configuration".to_owned(),
        "/api".to_owned(),
        "/api/v1".to_owned(),
        "/apis".to_owned(),
    ];
    let served = core.kinds.now();
    for kind in served.all().iter().filter(|kind| !kind.resource.group.is_empty()) {
        for path in [
            format!("/apis/{}", kind.resource.group),
            format!("/apis/{}", kind.api_version),
        ] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    for route in core.aggregation.now().all() {
        let (group, version) = (&route.remote.group, &route.remote.version);
        for path in [format!("/apis/{group}"), format!("/apis/{group}/{version}")] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({"paths": paths})
}
