//! A request passed on to the server that serves its version, and the answer passed back, upgrades included.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyDataStream;
use hyper::upgrade::OnUpgrade;
use meta::Status;

use super::Route;
use super::headers;
use super::remote::authority;
use crate::core::Core;
use crate::handle::text;
use crate::http::Body;
use crate::http::body::Incoming;
use crate::http::listen::PeerAddress;
use crate::rest::sub::proxy::place::Place;
use crate::rest::sub::proxy::transport::{is_upgrade, join, onward, strip};
use crate::traces::{Caller, Outgoing};
use crate::user::User;

/// Every client asks for discovery, so a server that is slow must not hold all of them up.
const DISCOVERY: Duration = Duration::from_secs(5);

/// Passes a request on in the name of a user. What can't be reached is answered as Kubernetes' aggregator does it: in plain
/// text.
pub(crate) async fn pass(
    core: &Arc<Core>,
    user: &User,
    parts: &mut Parts,
    body: Incoming,
    route: &Route,
    audit_id: &str,
) -> Result<Response<Body>, Status> {
    if !route.available {
        return Ok(unavailable("service unavailable"));
    }
    let endpoint = match &route.remote.endpoint {
        Ok(endpoint) => endpoint,
        Err(why) => return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n"))),
    };
    let place = match endpoint.resolve(core).await {
        Ok(place) => place,
        Err(why) => {
            tracing::debug!(service = %route.remote.name, %why, "an extension server has no address");
            return Ok(unavailable("service unavailable"));
        }
    };
    if let Some(proxies) = &core.proxies {
        proxies.clear(&mut parts.headers);
    }
    let mut request = request(parts, body, user, &place, audit_id)?;
    let caller = Caller {
        span: None,
        headers: Some(&parts.headers),
    };
    let url = format!("https://{}{}", authority(&place), request.uri());
    let mut call = Outgoing::begin(caller, parts.method.as_str(), &url);
    call.mark(request.headers_mut());
    let passing = endpoint.pass(core, &place, request);
    let passed = match is_discovery(parts.uri.path()) {
        true => match tokio::time::timeout(DISCOVERY, passing).await {
            Ok(passed) => passed,
            Err(_) => Err("context deadline exceeded".to_owned()),
        },
        false => passing.await,
    };
    let mut answer = match passed {
        Ok(answer) => answer,
        Err(why) => {
            call.failed(&why);
            return Ok(unavailable(&format!("error trying to reach service: {why}")));
        }
    };
    call.answered(answer.status());
    let span = call.into_span();
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return join(parts.extensions.remove::<OnUpgrade>(), &mut answer, core);
    }
    let (mut answered, body) = answer.into_parts();
    strip(&mut answered.headers);
    // A stream ends with this server; the length of anything else says when it does.
    let body = match answered.headers.contains_key(CONTENT_LENGTH) {
        true => Body::foreign(body),
        false => {
            let pieces = BodyDataStream::new(body).map_err(io::Error::other);
            Body::stream(pieces.take_until(core.stopping.clone().cancelled_owned()))
        }
    };
    let body = if span.is_on() { body.until_dropped(span) } else { body };
    let mut response = Response::new(body);
    *response.status_mut() = answered.status;
    *response.headers_mut() = answered.headers;
    Ok(response)
}

fn unavailable(why: &str) -> Response<Body> {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

/// Whether a path is that of a version's own document.
fn is_discovery(path: &str) -> bool {
    path.trim_matches('/').split('/').count() == 3
}

fn request(
    parts: &Parts,
    body: Incoming,
    user: &User,
    place: &Place,
    audit_id: &str,
) -> Result<Request<Incoming>, Status> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = target.parse().map_err(Status::internal)?;
    let mut headers = onward(&parts.headers, &parts.uri);
    headers::identify(&mut headers, user)?;
    let set = |headers: &mut HeaderMap, name, value: &str| {
        HeaderValue::from_str(value)
            .map(|value| headers.insert(name, value))
            .map_err(Status::internal)
    };
    set(&mut headers, HOST, &authority(place))?;
    if !audit_id.is_empty() {
        set(&mut headers, "audit-id".parse().map_err(Status::internal)?, audit_id)?;
    }
    if let Some(PeerAddress(peer)) = parts.extensions.get::<PeerAddress>() {
        let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
        let peer = peer.ip().to_canonical();
        let all = before.map_or_else(|| peer.to_string(), |before| format!("{before}, {peer}"));
        set(&mut headers, "x-forwarded-for".parse().map_err(Status::internal)?, &all)?;
    }
    if let Some(protocol) = parts.headers.get(UPGRADE).filter(|_| is_upgrade(&parts.headers)) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    *request.headers_mut() = headers;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;
    use crate::http::body::incoming;
    use crate::rest::sub::proxy::place::Way;

    #[test]
    fn credentials_stay_here_and_the_rest_goes_along() {
        let came = Request::post("https://front/apis/g/v1/things/a%2Fb?watch=1&x=%20")
            .header("host", "front")
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "jane")
            .header("x-remote-group", "system:masters")
            .header("x-forwarded-for", "192.0.2.1")
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        let (mut parts, ()) = came.into_parts();
        parts.extensions.insert(PeerAddress(([192, 0, 2, 2], 1234).into()));
        let place = Place {
            way: Way::Direct,
            https: false,
            host: "fd00::1".to_owned(),
            port: 6443,
        };
        let jane = User::new("jane", &[]);
        let request = request(&parts, incoming(Empty::new()), &jane, &place, "a-b").unwrap();
        assert_eq!(request.uri(), "/apis/g/v1/things/a%2Fb?watch=1&x=%20");
        let headers = request.headers();
        for gone in ["authorization", "impersonate-user", "connection"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        for (name, value) in [
            ("host", "[fd00::1]:6443"),
            ("x-remote-user", "jane"),
            ("x-remote-group", "system:authenticated"),
            ("x-forwarded-for", "192.0.2.1, 192.0.2.2"),
            ("x-forwarded-host", "front"),
            ("audit-id", "a-b"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 1);
    }

    #[test]
    fn a_versions_own_document_is_discovery() {
        assert!(is_discovery("/apis/g/v1") && is_discovery("/apis/g/v1/"));
        assert!(!is_discovery("/apis/g/v1/things") && !is_discovery("/openapi/v3/apis/g/v1"));
    }
}
