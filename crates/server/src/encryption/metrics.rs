//! What is counted of encryption at rest, in the names that Kubernetes' dashboards know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::TransformError;
use super::transformer::resource;

/// How many buckets the histogram has; each one ends at twice the one before.
const BUCKETS: usize = 25;
const FIRST_BUCKET: f64 = 5e-6;

/// Which way a value goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    ToStorage,
    FromStorage,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::ToStorage => "to_storage",
            Direction::FromStorage => "from_storage",
        }
    }
}

/// The counters.
#[derive(Default)]
pub(super) struct Transformations(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// By resource, direction, prefix and how it ended.
    operations: BTreeMap<(String, Direction, String, &'static str), u64>,
    durations: BTreeMap<(Direction, String), Series>,
    /// By whether it succeeded: how often, and when last.
    reloads: BTreeMap<bool, (u64, f64)>,
}

#[derive(Default)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS],
}

impl Transformations {
    pub(super) fn add(
        &self,
        key: &str,
        direction: Direction,
        prefix: &str,
        took: Duration,
        error: Option<&TransformError>,
    ) {
        let resource = shown(resource(key).unwrap_or_default());
        let code = error.map_or("OK", TransformError::code);
        let mut counted = self.0.lock();
        let operation = (resource, direction, prefix.to_owned(), code);
        *counted.operations.entry(operation).or_default() += 1;
        if error.is_none() {
            let series = counted.durations.entry((direction, prefix.to_owned())).or_default();
            let seconds = took.as_secs_f64();
            series.count += 1;
            series.seconds += seconds;
            for (bucket, bound) in series.buckets.iter_mut().zip(bounds()) {
                *bucket += u64::from(seconds <= bound);
            }
        }
    }

    /// The configuration was read again.
    pub(super) fn reloaded(&self, success: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut counted = self.0.lock();
        let (count, last) = counted.reloads.entry(success).or_default();
        *count += 1;
        *last = now.as_secs_f64();
    }

    /// Appends the Prometheus text format.
    pub(super) fn write(&self, out: &mut String) {
        // Writing into a String can't fail.
        let _ = self.0.lock().write(out);
    }
}

impl Counted {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        if !self.operations.is_empty() {
            writeln!(out, "# TYPE apiserver_storage_transformation_operations_total counter")?;
        }
        for ((resource, direction, prefix, code), count) in &self.operations {
            writeln!(
                out,
                "apiserver_storage_transformation_operations_total{{resource=\"{resource}\",status=\"{code}\",\
                 transformation_type=\"{}\",transformer_prefix=\"{prefix}\"}} {count}",
                direction.name()
            )?;
        }
        let name = "apiserver_storage_transformation_duration_seconds";
        if !self.durations.is_empty() {
            writeln!(out, "# TYPE {name} histogram")?;
        }
        for ((direction, prefix), series) in &self.durations {
            let labels = format!(
                "transformation_type=\"{}\",transformer_prefix=\"{prefix}\"",
                direction.name()
            );
            for (bound, bucket) in bounds().zip(series.buckets) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count)?;
            writeln!(out, "{name}_sum{{{labels}}} {}", series.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {}", series.count)?;
        }
        let name = "apiserver_encryption_config_controller_automatic_reload";
        if !self.reloads.is_empty() {
            writeln!(out, "# TYPE {name}s_total counter")?;
            writeln!(out, "# TYPE {name}_last_timestamp_seconds gauge")?;
        }
        for (success, (count, last)) in &self.reloads {
            let status = if *success { "success" } else { "failure" };
            writeln!(out, "{name}s_total{{status=\"{status}\"}} {count}")?;
            writeln!(out, "{name}_last_timestamp_seconds{{status=\"{status}\"}} {last}")?;
        }
        Ok(())
    }
}

fn bounds() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(FIRST_BUCKET), |bound| Some(bound * 2.0)).take(BUCKETS)
}

/// `GROUP/RESOURCE` as Kubernetes writes it.
fn shown(resource: &str) -> String {
    match resource.split_once('/') {
        Some(("core", resource)) => resource.to_owned(),
        Some((group, resource)) => format!("{resource}.{group}"),
        None => String::new(),
    }
}
