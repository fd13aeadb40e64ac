//! A collector of traces for tests: OTLP over gRPC, by hand, so that the other side is checked against the wire and not
//! against its own code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;

use crate::kms::{Answered, framed};

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    processes: Vec<Process>,
}

#[derive(Clone, PartialEq, Message)]
struct Process {
    #[prost(message, optional, tag = "1")]
    resource: Option<Attributes>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<Scope>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Wire>,
}

/// `Span`.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Ended>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Ended {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

/// A span as it came. Ids are hexadecimal.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    /// 1 within the server, 2 of a request that came, 3 of one that went out.
    pub(crate) kind: i32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Traces and spans.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) failed: bool,
    pub(crate) flags: u32,
}

#[derive(Default)]
struct State {
    spans: Vec<Span>,
    process: BTreeMap<String, String>,
}

/// A running collector; it ends with the test's runtime.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Collector {
    pub(crate) async fn start() -> Collector {
        Collector::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn listen(address: SocketAddr) -> Collector {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                tokio::spawn(async move {
                    let service = service_fn(move |request| take(request, Arc::clone(&state)));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Collector { address, state }
    }

    /// What it was given so far of a trace.
    pub(crate) fn trace(&self, trace: &str) -> Vec<Span> {
        let state = self.state.lock();
        state.spans.iter().filter(|span| span.trace == trace).cloned().collect()
    }

    /// Everything that it was given so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.state.lock().spans.clone()
    }

    /// What the process that gave it says of itself.
    pub(crate) fn process(&self) -> BTreeMap<String, String> {
        self.state.lock().process.clone()
    }
}

async fn take(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Answered, hyper::Error> {
    let method = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    if method != "/opentelemetry.proto.collector.trace.v1.TraceService/Export" {
        return Ok(framed(&[], "12"));
    }
    let export = Export::decode(&body[5..]).unwrap();
    let mut state = state.lock();
    for process in export.processes {
        state.process = read(process.resource.unwrap_or_default().attributes);
        let spans = process.scopes.into_iter().flat_map(|scope| scope.spans);
        state.spans.extend(spans.map(seen));
    }
    Ok(framed(&[], "0"))
}

fn seen(wire: Wire) -> Span {
    let links = wire.links.iter();
    Span {
        name: wire.name,
        trace: hex::encode(wire.trace_id),
        id: hex::encode(wire.span_id),
        parent: hex::encode(wire.parent),
        state: wire.state,
        kind: wire.kind,
        start: wire.start,
        end: wire.end,
        links: links
            .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
            .collect(),
        attributes: read(wire.attributes),
        failed: wire.status.is_some_and(|status| status.code == 2),
        flags: wire.flags,
    }
}

fn read(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| {
        let value = value.unwrap_or_default();
        value.text.or(value.number.map(|number| number.to_string())).unwrap()
    };
    attributes
        .into_iter()
        .map(|pair| (pair.key, text(pair.value)))
        .collect()
}
