//! The way of spans to a collector: a bounded queue, batches, and gRPC. A collector that is away or slow costs spans and
//! nothing else; how many is told in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::config::Collector;
use super::otlp::{ExportRequest, ExportResponse, Resource, ResourceSpans, Scope, ScopeSpans, Span, text};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// So many spans wait; those that come then are lost. These three are what OpenTelemetry's own libraries have.
const ROOM: usize = 2048;
const BATCH: usize = 512;
const AT_LATEST: Duration = Duration::from_secs(5);
/// How long a collector may take to answer, and to be reached.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// A batch that isn't taken is sent again after these pauses, and then given up.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(6)];
/// How long the last spans may take when the server stops.
const LAST: Duration = Duration::from_secs(3);

/// Where spans go that have ended.
pub(super) struct Queue {
    items: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

enum Item {
    Span(Box<Span>),
    /// Everything before this goes out now; then it is told.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    /// Begins to send, until `stopping` and the flush after that. `instance` tells this server from others.
    pub(super) fn start(collector: &Collector, instance: &str, stopping: CancellationToken) -> Result<Queue, String> {
        let (items, waiting) = mpsc::channel(ROOM);
        let dropped = Arc::new(AtomicU64::new(0));
        let exporter = Exporter {
            channel: channel(collector)?,
            resource: Resource {
                attributes: vec![text("service.name", "apiserver"), text("service.instance.id", instance)],
            },
            dropped: Arc::clone(&dropped),
            lost: 0,
            is_away: false,
            stopping,
        };
        tokio::spawn(exporter.run(waiting));
        Ok(Queue { items, dropped })
    }

    /// Takes a span that has ended, when there is room.
    pub(super) fn put(&self, span: Box<Span>) {
        if self.items.try_send(Item::Span(span)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends what there is, as far as the collector takes it in time.
    pub(super) async fn flush(&self) {
        let flushed = async {
            let (done, told) = oneshot::channel();
            if self.items.send(Item::Flush(done)).await.is_ok() {
                let _ = told.await;
            }
        };
        if tokio::time::timeout(LAST, flushed).await.is_err() {
            tracing::warn!("the collector doesn't answer: the last traces are lost");
        }
    }
}

fn channel(collector: &Collector) -> Result<Channel, String> {
    let path = match collector {
        Collector::Tcp(host) => {
            let endpoint = Endpoint::from_shared(format!("http://{host}"));
            let endpoint = endpoint.map_err(|error| meta::causes::chain(&error))?;
            return Ok(endpoint.connect_timeout(CONNECT).connect_lazy());
        }
        Collector::Unix(path) => path.clone(),
    };
    let connect = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The name is only what the requests say; the way is the socket.
    Ok(Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect))
}

/// The one who sends.
struct Exporter {
    channel: Channel,
    resource: Resource,
    dropped: Arc<AtomicU64>,
    /// Spans that were lost since the collector was last heard of.
    lost: u64,
    is_away: bool,
    stopping: CancellationToken,
}

impl Exporter {
    async fn run(mut self, mut waiting: mpsc::Receiver<Item>) {
        let mut batch = Vec::new();
        let mut items = Vec::with_capacity(BATCH);
        let mut at_latest = Box::pin(tokio::time::sleep(AT_LATEST));
        loop {
            let room = BATCH - batch.len();
            tokio::select! {
                taken = waiting.recv_many(&mut items, room) => {
                    if taken == 0 {
                        return self.export(&mut batch).await;
                    }
                    if batch.is_empty() {
                        at_latest.as_mut().reset(tokio::time::Instant::now() + AT_LATEST);
                    }
                    for item in items.drain(..) {
                        match item {
                            Item::Span(span) => batch.push(*span),
                            Item::Flush(done) => {
                                self.export(&mut batch).await;
                                let _ = done.send(());
                            }
                        }
                    }
                    if batch.len() >= BATCH {
                        self.export(&mut batch).await;
                    }
                }
                () = &mut at_latest, if !batch.is_empty() => self.export(&mut batch).await,
            }
        }
    }

    /// Sends a batch, again where that may help, and forgets it in any case.
    async fn export(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let request = self.request(std::mem::take(batch));
        let mut pauses = PAUSES.iter();
        let result = loop {
            let result = self.call(request.clone()).await;
            match (&result, pauses.next()) {
                (Err(status), Some(pause)) if passes(status.code()) && !self.stopping.is_cancelled() => {
                    tokio::select! {
                        () = tokio::time::sleep(*pause) => {}
                        () = self.stopping.cancelled() => {}
                    }
                }
                _ => break result,
            }
        };
        self.tell(count, result);
    }

    async fn call(&self, request: ExportRequest) -> Result<ExportResponse, tonic::Status> {
        let called = tokio::time::timeout(PATIENCE, async {
            let mut grpc = Grpc::new(self.channel.clone());
            let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(meta::causes::chain(&error));
            grpc.ready().await.map_err(unavailable)?;
            let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
            let path = PathAndQuery::from_static(EXPORT);
            grpc.unary(tonic::Request::new(request), path, codec).await
        });
        match called.await {
            Ok(answered) => answered.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded("no answer in time")),
        }
    }

    fn request(&self, spans: Vec<Span>) -> ExportRequest {
        let scope = Scope {
            name: "gantry".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        ExportRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                }],
            }],
        }
    }

    /// Says in the log when the collector goes and comes, and how much that has cost.
    fn tell(&mut self, count: u64, result: Result<ExportResponse, tonic::Status>) {
        self.lost += self.dropped.swap(0, Ordering::Relaxed);
        match result {
            Ok(answer) => {
                let refused = answer.partial_success.filter(|partial| partial.rejected_spans > 0);
                if let Some(refused) = refused {
                    let (count, why) = (refused.rejected_spans, refused.error_message);
                    tracing::warn!(count, why, "the collector doesn't take all spans");
                }
                if self.is_away || self.lost > 0 {
                    tracing::warn!(
                        lost = self.lost,
                        "the collector takes traces again; some spans are lost"
                    );
                }
                (self.lost, self.is_away) = (0, false);
            }
            Err(status) => {
                self.lost += count;
                if !self.is_away {
                    let why = status.message();
                    tracing::warn!(code = ?status.code(), why, "the collector doesn't take traces: spans are lost");
                }
                self.is_away = true;
            }
        }
    }
}

/// Whether a failure may pass, by the specification of OTLP.
fn passes(code: tonic::Code) -> bool {
    matches!(
        code,
        tonic::Code::Cancelled
            | tonic::Code::DeadlineExceeded
            | tonic::Code::Aborted
            | tonic::Code::OutOfRange
            | tonic::Code::Unavailable
            | tonic::Code::DataLoss
    )
}
