//! One request passed on and its answer passed back: which headers go along, which don't, and upgrades.

use std::io::Read as _;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use meta::Status;

use super::place::{Place, Way};
use super::{Answer, Call, html, stream, unreachable};
use crate::core::Core;
use crate::http::Body;
use crate::http::body::Incoming;
use crate::rest::answer;
use crate::rest::sub::node_call;

/// Links in a page that is larger stay as they are.
const MAX_PAGE: usize = 16 << 20;

/// Headers that are about one connection and not about the request.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Passes the call's request on to a place, with this path and query.
pub(super) async fn pass(call: &Call, place: &Place, uri: &str) -> Result<Answer, Status> {
    let upgrade = call.headers.get(header::UPGRADE).filter(|_| is_upgrade(&call.headers));
    let body = call.unread.lock().take().unwrap_or_else(|| {
        let none = Empty::<Bytes>::new().map_err(|never| match never {});
        none.boxed_unsync()
    });
    let mut request = Request::builder().method(call.method.clone());
    if let Some(headers) = request.headers_mut() {
        *headers = onward(&call.headers, &call.uri);
    }
    if let Way::Kubelet(node) = &place.way {
        if upgrade.is_some() {
            return Err(Status::bad_request("a node's own streams are reached through its pods"));
        }
        return kubelet(call, node, uri, request, body).await;
    }
    let mut request = request.uri(uri).body(body).map_err(Status::internal)?;
    let host = format!("{}:{}", place.host, place.port);
    request
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_str(&host).map_err(Status::internal)?);
    if let Some(protocol) = upgrade {
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    let connection = stream::connect(&call.core, place).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let mut answer = sender.send_request(request).await.map_err(unreachable)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = call.extensions.lock().remove::<OnUpgrade>();
        return join(client, &mut answer, &call.core).map(Answer::Raw);
    }
    Ok(Answer::Raw(backward(call, answer, place).await?))
}

/// Asks the node itself.
async fn kubelet(
    call: &Call,
    node: &str,
    uri: &str,
    request: http::request::Builder,
    body: Incoming,
) -> Result<Answer, Status> {
    let link = call.core.tunnels.get_within(node, node_call::PATIENCE).await;
    let link = link.map_err(unreachable)?;
    let body = body.map_err(std::io::Error::other).boxed_unsync();
    let request = request.uri(format!("http://{node}/kubelet{uri}")).body(body);
    let answer = link
        .send(request.map_err(Status::internal)?)
        .await
        .map_err(unreachable)?;
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    Ok(Answer::Raw(Response::from_parts(parts, Body::foreign(body))))
}

/// Whether a request asks for another protocol on its connection.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let words = headers.get_all(header::CONNECTION).into_iter();
    words
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// The headers that go along: what proves who the client is to us is not for others.
pub(crate) fn onward(came: &HeaderMap, uri: &Uri) -> HeaderMap {
    let mut headers = came.clone();
    strip(&mut headers);
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::HOST);
    let impersonation: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in impersonation {
        headers.remove(name);
    }
    for (name, value) in [
        ("x-forwarded-uri", uri.path()),
        ("x-forwarded-host", host_of(came, uri)),
        ("x-forwarded-proto", "https"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers
}

fn host_of<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> &'a str {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| uri.host()).unwrap_or_default()
}

/// Removes what is about the connection and not about the request or the answer.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .collect();
    for name in named {
        headers.remove(name.as_str());
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The answer as the client gets it. Where it leads elsewhere on the proxied server, it leads there through the proxy.
async fn backward(
    call: &Call,
    answer: Response<hyper::body::Incoming>,
    place: &Place,
) -> Result<Response<Body>, Status> {
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    let led = parts.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
    let before = call.uri.path();
    let before = &before[..before.len() - super::below(call).len()];
    if let Some(to) = led.and_then(|to| led_to(to, place, before))
        && let Ok(to) = HeaderValue::from_str(&to)
    {
        parts.headers.insert(header::LOCATION, to);
        return Ok(Response::from_parts(parts, Body::foreign(body)));
    }
    if !is_page(&parts.headers) {
        return Ok(Response::from_parts(parts, Body::foreign(body)));
    }
    let page = Limited::new(body, MAX_PAGE).collect().await;
    let page = page.map_err(|error| unreachable(error.to_string()))?.to_bytes();
    let change = |to: &str| led_to(to, place, before);
    let zipped = parts.headers.get(header::CONTENT_ENCODING).is_some();
    let page: Bytes = match zipped {
        true => answer::gzip(&html::rewrite(&gunzip(&page), change)),
        false => html::rewrite(&page, change).into(),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::full(page)))
}

/// Whether an answer is a page whose links can be read.
fn is_page(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let media_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let length = text(header::CONTENT_LENGTH).parse::<usize>().unwrap_or_default();
    media_type == "text/html" && matches!(text(header::CONTENT_ENCODING), "" | "gzip") && length <= MAX_PAGE
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain);
    plain
}

/// An address of the proxied server as it is reached through the proxy; none when it leads there already, or elsewhere.
fn led_to(to: &str, place: &Place, before: &str) -> Option<String> {
    let path = match to.split_once("://") {
        None => to,
        Some((_, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/')?);
            let authority: http::uri::Authority = authority.parse().ok()?;
            let same = authority.host() == place.host && authority.port_u16().is_none_or(|port| port == place.port);
            same.then_some(path)?
        }
    };
    let is_rooted = path.starts_with('/') && !path.starts_with("//") && !path.starts_with(before);
    is_rooted.then(|| format!("{before}{path}"))
}

/// Joins both connections when the proxied server has switched protocols; the answer to the client.
pub(crate) fn join(
    client: Option<OnUpgrade>,
    answer: &mut Response<hyper::body::Incoming>,
    core: &Core,
) -> Result<Response<Body>, Status> {
    let client = client.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let server = hyper::upgrade::on(&mut *answer);
    let stopping = core.stopping.clone();
    tokio::spawn(async move {
        let (Ok(client), Ok(server)) = tokio::join!(client, server) else {
            return tracing::debug!("one side of a proxied connection went away");
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            () = stopping.cancelled() => {}
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_behind_the_proxy() {
        let place = Place {
            way: Way::Direct,
            https: false,
            host: "10.0.0.1".into(),
            port: 8080,
        };
        let to = |to: &str| led_to(to, &place, "/api/v1/namespaces/a/pods/b/proxy");
        let there = Some("/api/v1/namespaces/a/pods/b/proxy/login?next=1".to_owned());
        assert_eq!(to("/login?next=1"), there);
        assert_eq!(to("http://10.0.0.1:8080/login?next=1"), there);
        assert_eq!(to("http://elsewhere/login"), None);
        assert_eq!(to("login"), None);
        assert_eq!(to("//elsewhere/login"), None);
        assert_eq!(to("/a#b"), Some("/api/v1/namespaces/a/pods/b/proxy/a#b".to_owned()));
    }

    #[test]
    fn connection_headers_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Own"),
            ("x-own", "1"),
            ("upgrade", "h2c"),
            ("x-other", "2"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert!(!is_upgrade(&headers));
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
