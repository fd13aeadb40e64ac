//! What the server counts of itself, in the names that Kubernetes' dashboards know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::core::Core;

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The counters.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Key, Series>>,
    in_flight: AtomicI64,
    watches: AtomicI64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verb: &'static str,
    group: String,
    resource: String,
    code: u16,
}

#[derive(Default)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BOUNDS.len()],
}

/// Counts something as going on for as long as it lives.
pub(crate) struct Running<'a>(&'a AtomicI64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a watch for as long as it lives.
pub(crate) struct Watching(Arc<Core>);

impl Watching {
    pub(crate) fn new(core: &Arc<Core>) -> Watching {
        core.metrics.watches.fetch_add(1, Ordering::Relaxed);
        Watching(Arc::clone(core))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.metrics.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn request(&self) -> Running<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Running(&self.in_flight)
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, verb: &'static str, group: &str, resource: &str, code: u16, took: Duration) {
        let key = Key {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            code,
        };
        let mut requests = self.requests.lock();
        let series = requests.entry(key).or_default();
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.seconds += seconds;
        for (bucket, bound) in series.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// The Prometheus text format.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String can't fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let requests = self.requests.lock();
        writeln!(out, "# TYPE apiserver_request_total counter")?;
        for (key, series) in requests.iter() {
            writeln!(
                out,
                "apiserver_request_total{{{},code=\"{}\"}} {}",
                labels(key),
                key.code,
                series.count
            )?;
        }
        writeln!(out, "# TYPE apiserver_request_duration_seconds histogram")?;
        for (key, series) in requests.iter().filter(|(key, _)| key.verb != "WATCH") {
            let (name, labels) = (
                "apiserver_request_duration_seconds",
                format!("{},code=\"{}\"", labels(key), key.code),
            );
            for (bound, bucket) in BOUNDS.iter().zip(series.buckets) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count)?;
            writeln!(out, "{name}_sum{{{labels}}} {}", series.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {}", series.count)?;
        }
        writeln!(out, "# TYPE apiserver_current_inflight_requests gauge")?;
        writeln!(
            out,
            "apiserver_current_inflight_requests {}",
            self.in_flight.load(Ordering::Relaxed)
        )?;
        writeln!(out, "# TYPE apiserver_longrunning_requests gauge")?;
        writeln!(
            out,
            "apiserver_longrunning_requests{{verb=\"WATCH\"}} {}",
            self.watches.load(Ordering::Relaxed)
        )
    }
}

fn labels(key: &Key) -> String {
    format!(
        "group=\"{}\",resource=\"{}\",verb=\"{}\"",
        key.group,
        key.resource,
        key.verb.to_uppercase()
    )
}
