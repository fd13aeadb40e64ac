//! What a trace says of a request for a resource: the span of its verb, and that of writing the answer. Names and attributes
//! are kube-apiserver's.

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, Response};
use http_body::Body as _;

use super::Call;
use crate::http::Body;
use crate::http::listen::PeerAddress;
use crate::traces::{self, Span};

/// Begins the span of a request's verb.
pub(crate) fn verb(call: &Call) -> Span {
    let span = traces::enter(match call.verb {
        "get" => "Get",
        "list" => "List",
        "watch" => "WatchServer.HandleHTTP",
        "create" => "Create",
        "update" => "Update",
        "patch" => "Patch",
        "delete" | "deletecollection" => "Delete",
        verb => verb,
    });
    match span.is_on() {
        true => described(span.audited(), call),
        false => span,
    }
}

fn described(mut span: Span, call: &Call) -> Span {
    let path = &call.path;
    let scope = match (&path.name, &path.namespace) {
        (Some(_), _) => "resource",
        (None, Some(_)) => "namespace",
        (None, None) => "cluster",
    };
    let client = call
        .extensions
        .lock()
        .get::<PeerAddress>()
        .map(|peer| peer.0.ip().to_canonical());
    for (key, value) in [
        ("accept", header(&call.headers, ACCEPT.as_str())),
        (
            "client",
            client.map(|client| client.to_string()).unwrap_or_default().as_str(),
        ),
        ("api-group", &path.group),
        ("api-version", &path.version),
        ("name", path.name.as_deref().unwrap_or_default()),
        ("subresource", call.subresource()),
        ("namespace", path.namespace.as_deref().unwrap_or_default()),
        ("resource", &path.resource),
        ("scope", scope),
        ("url", call.uri.path()),
        ("user-agent", header(&call.headers, USER_AGENT.as_str())),
        ("verb", &call.verb.to_uppercase()),
    ] {
        span.set(key, value);
    }
    span
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Begins the span of writing an answer.
pub(crate) fn serialize(call: &Call) -> Span {
    let mut span = traces::leaf("SerializeObject").audited();
    if span.is_on() {
        span.set("method", call.method.as_str());
        span.set("url", call.uri.path());
        span.set("mediaType", call.wanted.content_type());
    }
    span
}

/// Ends spans with the last byte of an answer, which can be much later than its head.
pub(crate) fn end(verb: Span, mut writing: Span, response: Response<Body>) -> Response<Body> {
    if !verb.is_on() {
        return response;
    }
    match response.body().size_hint().exact() {
        Some(length) => {
            writing.count("size", usize::try_from(length).unwrap_or(usize::MAX));
            response
        }
        None => response.map(|body| body.until_dropped((writing, verb))),
    }
}
