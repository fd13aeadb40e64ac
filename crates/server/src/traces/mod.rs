//! Traces: what a request did and how long each part of it took, as spans that go to a collector by OTLP when a
//! configuration asks for it. Names and attributes are kube-apiserver's where it has such spans.
//!
//! What holds: without a configuration a part of a request costs one look at a flag. A request is in one task, and its
//! trace goes with the task ([`Root::run`]), so that whoever begins a span needs to know of nothing. A span ends when it is
//! dropped, and costs nothing when its request isn't traced. No request ever waits for a collector.
//!
//! <https://kubernetes.io/docs/concepts/cluster-administration/system-traces/>

mod config;
mod context;
mod export;
mod otlp;
mod outgoing;
mod root;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::header::HeaderValue;
use tokio_util::sync::CancellationToken;

pub use config::TracingSettings;
use export::Queue;
pub(crate) use outgoing::{Caller, Outgoing};
pub(crate) use root::{Arrived, Root};

/// Values are cut off here: what waits for the collector is bounded in bytes, too.
const LONGEST: usize = 1024;

/// Whether any server of this process makes traces.
static ON: AtomicBool = AtomicBool::new(false);

tokio::task_local! {
    /// The trace of the request that a task is about.
    static CURRENT: Arc<Trace>;
}

/// Makes traces for a server.
pub(crate) struct Tracer {
    share: Share,
    queue: Queue,
}

/// Which requests without a decision of somebody else are traced: those whose ids are below a bound.
enum Share {
    All,
    Below(u64),
}

impl Tracer {
    /// Begins to send to the collector that the settings name.
    pub(crate) fn start(
        settings: &TracingSettings,
        instance: &str,
        stopping: &CancellationToken,
    ) -> Result<Arc<Tracer>, String> {
        let queue = Queue::start(&settings.collector, instance, stopping.clone())?;
        ON.store(true, Ordering::Relaxed);
        let share = match settings.per_million {
            1_000_000.. => Share::All,
            // A bound of 63 bits, as OpenTelemetry's sampler has it: servers agree on which ids are below it.
            part => Share::Below((1 << 63) / 1_000_000 * u64::from(part)),
        };
        Ok(Arc::new(Tracer { share, queue }))
    }

    /// Sends what has ended; for the end of the server.
    pub(crate) async fn flush(&self) {
        self.queue.flush().await;
    }

    /// Whether a trace that begins here is written down.
    fn takes(&self, trace: &[u8; 16]) -> bool {
        let low = trace.iter().skip(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        match self.share {
            Share::All => true,
            Share::Below(bound) => low >> 1 < bound,
        }
    }
}

/// The trace of one request.
struct Trace {
    tracer: Arc<Tracer>,
    id: [u8; 16],
    /// Whether it is written down. If not, it is only passed on.
    sampled: bool,
    state: String,
    baggage: Option<HeaderValue>,
    audit_id: String,
    /// The span that the next one is a part of.
    current: AtomicU64,
}

/// A part of a request, until it is dropped; nothing when the request isn't traced.
#[must_use]
pub(crate) struct Span(Option<Box<Open>>);

struct Open {
    trace: Arc<Trace>,
    id: u64,
    since: Instant,
    recorded: Box<otlp::Span>,
    /// The span that is the current one again when this ends.
    within: Option<u64>,
}

/// Begins a part of the current request. What begins before it ends is a part of it.
pub(crate) fn enter(name: &str) -> Span {
    let Some(trace) = current() else {
        return Span(None);
    };
    let within = trace.current.load(Ordering::Relaxed);
    let mut span = Open::begin(trace, within, name, otlp::SpanKind::Internal);
    span.trace.current.store(span.id, Ordering::Relaxed);
    span.within = Some(within);
    Span(Some(span))
}

/// Begins a part of the current request that has no parts but those that are made out of it: there may be several at
/// once.
pub(crate) fn leaf(name: &str) -> Span {
    Span(current().map(|trace| {
        let within = trace.current.load(Ordering::Relaxed);
        Open::begin(trace, within, name, otlp::SpanKind::Internal)
    }))
}

/// `traceparent` of the current span, for the store; none when the request isn't traced.
pub(crate) fn parent() -> Option<String> {
    let trace = current()?;
    Some(context::parent(&trace.id, trace.current.load(Ordering::Relaxed), true))
}

/// The trace of the current request, if it is written down.
fn current() -> Option<Arc<Trace>> {
    carried().filter(|trace| trace.sampled)
}

/// The trace of the current request.
fn carried() -> Option<Arc<Trace>> {
    if !ON.load(Ordering::Relaxed) {
        return None;
    }
    CURRENT.try_with(Arc::clone).ok()
}

impl Span {
    /// Whether anybody will see it.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Gives it another name than it began with.
    pub(crate) fn rename(&mut self, name: &str) {
        if let Some(open) = &mut self.0 {
            name.clone_into(&mut open.recorded.name);
        }
    }

    /// Says more of it.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        if let Some(open) = &mut self.0 {
            open.recorded.attributes.push(otlp::text(key, cut(value)));
        }
    }

    /// Says more of it: a number.
    pub(crate) fn count(&mut self, key: &str, value: usize) {
        if let Some(open) = &mut self.0 {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            open.recorded.attributes.push(otlp::number(key, value));
        }
    }

    /// Says which request it belongs to, as kube-apiserver has it at most of its spans.
    pub(crate) fn audited(mut self) -> Span {
        if let Some(open) = &mut self.0 {
            let id = otlp::text("audit-id", open.trace.audit_id.clone());
            open.recorded.attributes.push(id);
        }
        self
    }

    /// Something happened meanwhile.
    pub(crate) fn event(&mut self, name: &str) {
        if let Some(open) = &mut self.0 {
            open.recorded.events.push(otlp::Event {
                time_unix_nano: open.now(),
                name: name.to_owned(),
                attributes: Vec::new(),
            });
        }
    }

    /// It failed.
    pub(crate) fn fail(&mut self, why: &str) {
        if let Some(open) = &mut self.0 {
            open.recorded.status = Some(otlp::Status {
                message: cut(why),
                code: otlp::FAILED,
            });
        }
    }
}

impl Open {
    fn begin(trace: Arc<Trace>, within: u64, name: &str, kind: otlp::SpanKind) -> Box<Open> {
        let id = new_id();
        let recorded = otlp::Span {
            trace_id: trace.id.to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            trace_state: trace.state.clone(),
            parent_span_id: within.to_be_bytes().to_vec(),
            name: name.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: now(),
            flags: otlp::SAMPLED | otlp::KNOWS_PARENT,
            ..otlp::Span::default()
        };
        Box::new(Open {
            trace,
            id,
            since: Instant::now(),
            recorded: Box::new(recorded),
            within: None,
        })
    }

    /// The time, by a clock that doesn't jump while the span lasts.
    fn now(&self) -> u64 {
        self.recorded.start_time_unix_nano + nanoseconds(self.since.elapsed())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut recorded = std::mem::take(&mut self.recorded);
        recorded.end_time_unix_nano = recorded.start_time_unix_nano + nanoseconds(self.since.elapsed());
        if let Some(within) = self.within {
            self.trace.current.store(within, Ordering::Relaxed);
        }
        self.trace.tracer.queue.put(recorded);
    }
}

/// What no other span has; 0 is none.
fn new_id() -> u64 {
    rand::random::<u64>().max(1)
}

fn now() -> u64 {
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A text as it goes to a collector.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}
