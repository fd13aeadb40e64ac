//! Calls to others on behalf of a request: the span of such a call, and the headers by which the other side goes on with
//! the trace. Without traces here, what the request itself says is passed on.

use http::StatusCode;
use http::header::HeaderMap;

use super::context::{self, Remote, baggage, inject};
use super::otlp::SpanKind;
use super::{Open, Span, carried, new_id};

/// On whose behalf somebody is called.
#[derive(Clone, Copy, Default)]
pub(crate) struct Caller<'a> {
    /// The span that the call is a part of, when that isn't the current one.
    pub(crate) span: Option<&'a Span>,
    /// The headers of the request behind it, when there is one.
    pub(crate) headers: Option<&'a HeaderMap>,
}

/// A call that goes out, until it is dropped.
pub(crate) struct Outgoing {
    span: Span,
    parent: Option<(String, String)>,
    baggage: Option<http::HeaderValue>,
}

impl Outgoing {
    /// Begins a call to a URL.
    pub(crate) fn begin(caller: Caller<'_>, method: &str, url: &str) -> Outgoing {
        let Some(trace) = carried() else {
            return Outgoing::passed_on(caller.headers);
        };
        let mut span = Span(None);
        let mut id = new_id();
        if trace.sampled {
            let within = caller.span.and_then(|span| span.0.as_ref()).map(|open| open.id);
            let within = within.unwrap_or_else(|| trace.current.load(std::sync::atomic::Ordering::Relaxed));
            let open = Open::begin(trace.clone(), within, &format!("HTTP {method}"), SpanKind::Client);
            id = open.id;
            span = Span(Some(open));
            describe(&mut span, method, url);
        }
        Outgoing {
            span,
            parent: Some((context::parent(&trace.id, id, trace.sampled), trace.state.clone())),
            baggage: trace.baggage.clone(),
        }
    }

    fn passed_on(headers: Option<&HeaderMap>) -> Outgoing {
        let named = headers.and_then(Remote::of);
        let baggage = headers.and_then(baggage);
        Outgoing {
            span: Span(None),
            parent: named.map(|named| (context::parent(&named.trace, named.span, named.sampled), named.state)),
            baggage,
        }
    }

    /// Says in a request's headers which trace it belongs to.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if let Some((parent, state)) = &self.parent {
            inject(headers, parent, state, self.baggage.as_ref());
        }
    }

    /// It was answered.
    pub(crate) fn answered(&mut self, code: StatusCode) {
        if !self.span.is_on() {
            return;
        }
        self.span.count("http.response.status_code", usize::from(code.as_u16()));
        if code.is_client_error() || code.is_server_error() {
            self.span.set("error.type", code.as_str());
            self.span.fail("");
        }
    }

    /// It wasn't.
    pub(crate) fn failed(&mut self, why: &str) {
        self.span.set("error.type", "_OTHER");
        self.span.fail(why);
    }

    /// The span alone, for as long as the answer is read.
    pub(crate) fn into_span(self) -> Span {
        self.span
    }
}

fn describe(span: &mut Span, method: &str, url: &str) {
    span.set("http.request.method", method);
    span.set("url.full", url);
    let authority = url.parse::<http::Uri>().ok().and_then(|uri| uri.authority().cloned());
    if let Some(authority) = authority {
        span.set("server.address", authority.host());
        if let Some(port) = authority.port_u16().filter(|port| *port != 443) {
            span.count("server.port", usize::from(port));
        }
    }
    span.set("network.protocol.version", "1.1");
}
