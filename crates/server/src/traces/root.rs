//! The span of a whole request, from its arrival to the last byte of the answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, USER_AGENT};
use http::request::Parts;
use http::{Method, Response, Version};
use http_body::Body as _;

use super::context::{Remote, baggage};
use super::otlp::{self, SpanKind, number, text};
use super::{CURRENT, Open, Span, Trace, Tracer, cut, nanoseconds, new_id};
use crate::http::Body;
use crate::http::listen::PeerAddress;
use crate::http::path::RequestInfo;
use crate::user::{MASTERS, User};

/// Who belongs to this group asks for the system's health and figures.
const MONITORING: &str = "system:monitoring";

/// What is known of a request when it is known whose it is.
pub(crate) struct Arrived<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) info: &'a RequestInfo,
    pub(crate) audit_id: &'a str,
    /// None when nobody knows.
    pub(crate) user: Option<&'a User>,
    pub(crate) at: Instant,
}

/// The span of a request, and the trace that all parts of it belong to.
pub(crate) struct Root {
    trace: Arc<Trace>,
    span: Span,
}

impl Root {
    /// Begins the trace of a request, or goes on with the one that it names. Only those are believed who run the cluster,
    /// as in kube-apiserver: anybody else begins a trace here, and the span that they name is noted in it.
    pub(crate) fn begin(tracer: &Arc<Tracer>, arrived: &Arrived<'_>) -> Root {
        let headers = &arrived.parts.headers;
        let is_believed = arrived
            .user
            .is_some_and(|user| user.is_in(MASTERS) || user.is_in(MONITORING));
        let named = Remote::of(headers);
        let (id, sampled, state, parent, link) = match named {
            Some(named) if is_believed => (named.trace, named.sampled, named.state, Some(named.span), None),
            named => {
                let id = rand::random::<u128>().max(1).to_be_bytes();
                (id, tracer.takes(&id), String::new(), None, named)
            }
        };
        let span = new_id();
        let trace = Arc::new(Trace {
            tracer: Arc::clone(tracer),
            id,
            sampled,
            state,
            baggage: baggage(headers),
            audit_id: arrived.audit_id.to_owned(),
            current: AtomicU64::new(span),
        });
        let open = sampled.then(|| {
            let mut open = Open::begin(Arc::clone(&trace), 0, &name(arrived), SpanKind::Server);
            open.id = span;
            open.since = arrived.at;
            describe(&mut open.recorded, arrived);
            open.recorded.span_id = span.to_be_bytes().to_vec();
            open.recorded.parent_span_id = parent.map(|span| span.to_be_bytes().to_vec()).unwrap_or_default();
            open.recorded.start_time_unix_nano -= nanoseconds(arrived.at.elapsed());
            if parent.is_some() {
                open.recorded.flags |= otlp::REMOTE_PARENT;
            }
            open.recorded.links.extend(link.map(link_to));
            open
        });
        Root {
            trace,
            span: Span(open),
        }
    }

    /// Notes what was done before the trace could begin: everything from the request's arrival until now.
    pub(crate) fn preceded_by(&self, name: &str) {
        if let Some(open) = &self.span.0 {
            let mut part = Open::begin(Arc::clone(&self.trace), open.id, name, SpanKind::Internal);
            part.recorded.start_time_unix_nano = open.recorded.start_time_unix_nano;
            part.since = open.since;
        }
    }

    /// Does the request as a part of this trace.
    pub(crate) async fn run<F: Future>(&self, request: F) -> F::Output {
        CURRENT.scope(Arc::clone(&self.trace), request).await
    }

    /// Ends the span with the answer: now when its bytes are all there, otherwise with the last of them.
    pub(crate) fn end(mut self, response: Response<Body>) -> Response<Body> {
        let Some(open) = &mut self.span.0 else {
            return response;
        };
        let code = response.status();
        let attributes = &mut open.recorded.attributes;
        attributes.push(number("http.response.status_code", i64::from(code.as_u16())));
        if code.is_server_error() {
            self.span.fail("");
        }
        let Some(length) = response.body().size_hint().exact() else {
            return response.map(|body| body.until_dropped(self.span));
        };
        if length > 0 {
            self.span
                .count("http.response.body.size", usize::try_from(length).unwrap_or(usize::MAX));
        }
        response
    }
}

/// What the span of a request is called: its method, and the path with names left out when that is one of a resource.
fn name(arrived: &Arrived<'_>) -> String {
    let mut name = arrived.parts.method.to_string();
    let Some(path) = &arrived.info.resource else {
        return name;
    };
    match path.group.as_str() {
        "" => name.push_str(" /api/"),
        group => {
            name.push_str(" /apis/");
            name.push_str(group);
            name.push('/');
        }
    }
    name.push_str(&path.version);
    if path.namespace.is_some() {
        name.push_str("/namespaces/{:namespace}");
    }
    name.push('/');
    name.push_str(&path.resource);
    if path.name.is_some() {
        name.push_str("/{:name}");
    }
    if let Some(subresource) = &path.subresource {
        name.push('/');
        name.push_str(subresource);
    }
    cut(&name)
}

/// What OpenTelemetry's conventions say of a request, and what kube-apiserver adds.
fn describe(span: &mut otlp::Span, arrived: &Arrived<'_>) {
    let parts = arrived.parts;
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let peer = parts.extensions.get::<PeerAddress>().map(|peer| peer.0);
    let host = header(HOST).or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    let mut say = |key: &str, value: &str| span.attributes.push(text(key, cut(value)));
    match is_known(&parts.method) {
        true => say("http.request.method", parts.method.as_str()),
        false => {
            say("http.request.method", "_OTHER");
            say("http.request.method_original", parts.method.as_str());
        }
    }
    say("url.path", parts.uri.path());
    if let Some(target) = parts.uri.path_and_query() {
        say("http.target", target.as_str());
    }
    if let Some(agent) = header(USER_AGENT) {
        say("user_agent.original", agent);
    }
    say("audit-id", arrived.audit_id);
    // What follows is known of requests that came over the network.
    if let Some(peer) = peer {
        let address = peer.ip().to_canonical().to_string();
        say("url.scheme", "https");
        say("network.peer.address", &address);
        say("client.address", forwarded(&parts.headers).unwrap_or(&address));
        say("network.protocol.version", version(parts.version));
        if let Some(host) = host {
            let authority: Option<http::uri::Authority> = host.parse().ok();
            say(
                "server.address",
                authority.as_ref().map_or(host, http::uri::Authority::host),
            );
            if let Some(port) = authority
                .and_then(|authority| authority.port_u16())
                .filter(|port| *port != 443)
            {
                span.attributes.push(number("server.port", i64::from(port)));
            }
        }
        span.attributes
            .push(number("network.peer.port", i64::from(peer.port())));
    }
    let length = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(length) = length.filter(|length| *length > 0) {
        span.attributes.push(number("http.request.body.size", length));
    }
}

fn is_known(method: &Method) -> bool {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    known.contains(method)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    }
}

/// The one who asked a proxy, as that says.
fn forwarded(headers: &HeaderMap) -> Option<&str> {
    let first = headers.get("x-forwarded-for")?.to_str().ok()?.split(',').next()?.trim();
    (!first.is_empty()).then_some(first)
}

fn link_to(remote: Remote) -> otlp::Link {
    otlp::Link {
        trace_id: remote.trace.to_vec(),
        span_id: remote.span.to_be_bytes().to_vec(),
        trace_state: remote.state,
        flags: otlp::KNOWS_PARENT | otlp::REMOTE_PARENT | u32::from(remote.sampled),
    }
}
