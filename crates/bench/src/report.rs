//! Figures: how they are gathered, rounded and printed, and what machine and server they belong to.

use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use kube::Client;
use serde_json::{Map, Value, json};

/// Two minutes in microseconds: what takes longer counts as that.
const LONGEST: u64 = 120_000_000;

/// Many durations, each to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    pub(crate) fn record(&mut self, taken: Duration) {
        self.0
            .saturating_record(u64::try_from(taken.as_micros()).unwrap_or(LONGEST));
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// In milliseconds; null when there is none.
    pub(crate) fn to_json(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        let at = |quantile| millis(self.0.value_at_quantile(quantile) as f64 / 1000.0);
        json!({
            "min_ms": millis(self.0.min() as f64 / 1000.0),
            "p50_ms": at(0.5),
            "p90_ms": at(0.9),
            "p99_ms": at(0.99),
            "max_ms": millis(self.0.max() as f64 / 1000.0),
        })
    }
}

/// Few durations, kept exactly: order statistics of the very samples, in milliseconds; null when there is none.
pub(crate) fn of_samples(samples: &[Duration]) -> Value {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return Value::Null;
    };
    json!({
        "count": sorted.len(),
        "min_ms": of_duration(*first),
        "p50_ms": of_duration(at(&sorted, 50)),
        "p99_ms": of_duration(at(&sorted, 99)),
        "max_ms": of_duration(*last),
    })
}

/// The smallest sample that at least so many percent of them do not exceed. There is at least one.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// Milliseconds with three digits behind the point.
pub(crate) fn of_duration(taken: Duration) -> Value {
    millis(taken.as_secs_f64() * 1000.0)
}

/// A number with three digits behind the point.
pub(crate) fn millis(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

/// A rate a second, with one digit behind the point.
pub(crate) fn rate(count: u64, elapsed: Duration) -> Value {
    if elapsed.is_zero() {
        return Value::Null;
    }
    json!((count as f64 / elapsed.as_secs_f64() * 10.0).round() / 10.0)
}

/// The least and the middle of each step's figures over several runs; a step that a run lacks does not count there.
pub(crate) fn summary(runs: &[Map<String, Value>]) -> (Value, Value) {
    let (mut least, mut middle) = (Map::new(), Map::new());
    let steps: Vec<&String> = runs
        .iter()
        .max_by_key(|run| run.len())
        .into_iter()
        .flat_map(Map::keys)
        .collect();
    for step in steps {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(step)?.as_f64()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let Some(first) = values.first() else { continue };
        least.insert(step.clone(), millis(*first));
        middle.insert(step.clone(), millis(median(&values)));
    }
    (Value::Object(least), Value::Object(middle))
}

/// Of sorted values, at least one.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        f64::midpoint(sorted[half - 1], sorted[half])
    }
}

/// What the figures were measured on: this machine, and the server's version if it tells.
pub(crate) async fn setting(client: &Client) -> Value {
    let version = client.apiserver_version().await.ok();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "server": version.map(|version| version.git_version),
        "cpus": std::thread::available_parallelism().ok(),
        "memory_kb": total,
        "kernel": kernel.trim(),
        // Figures from a busy machine say little: whoever reads them should see that.
        "load_average": load.split(' ').next().and_then(|load| load.parse::<f64>().ok()),
    })
}

/// Says on stderr what goes on.
pub(crate) fn progress(text: impl AsRef<str>) {
    eprintln!("bench: {}", text.as_ref());
}

/// Prints the result.
pub(crate) fn print(result: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, result)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(values: &[u64]) -> Vec<Duration> {
        values.iter().map(|value| Duration::from_millis(*value)).collect()
    }

    #[test]
    fn samples_are_ranked_exactly() {
        let values: Vec<u64> = (1..=100).rev().collect();
        let told = of_samples(&ms(&values));
        assert_eq!(
            told,
            json!({"count": 100, "min_ms": 1.0, "p50_ms": 50.0, "p99_ms": 99.0, "max_ms": 100.0})
        );
        assert_eq!(
            of_samples(&ms(&[7])),
            json!({"count": 1, "min_ms": 7.0, "p50_ms": 7.0, "p99_ms": 7.0, "max_ms": 7.0})
        );
        assert_eq!(of_samples(&[]), Value::Null);
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut two) = (Latencies::new().expect("bounds"), Latencies::new().expect("bounds"));
        (0..99).for_each(|_| one.record(Duration::from_millis(1)));
        two.record(Duration::from_millis(100));
        assert_eq!(two.to_json()["p50_ms"], two.to_json()["max_ms"]);
        one.add(&two).expect("the same bounds");
        let told = one.to_json();
        assert!(told["p99_ms"].as_f64().expect("a number") < 1.01, "{told}");
        assert!(told["max_ms"].as_f64().expect("a number") >= 100.0, "{told}");
        assert_eq!(Latencies::new().expect("bounds").to_json(), Value::Null);
    }

    #[test]
    fn runs_are_summed_up_step_by_step() {
        let run = |value: Value| value.as_object().cloned().expect("an object");
        let runs = [
            run(json!({"a": 3.0, "b": 10.0})),
            run(json!({"a": 1.0})),
            run(json!({"a": 2.0, "b": 20.0})),
        ];
        let (least, middle) = summary(&runs);
        assert_eq!(least, json!({"a": 1.0, "b": 10.0}));
        assert_eq!(middle, json!({"a": 2.0, "b": 15.0}));
    }

    #[test]
    fn a_rate_without_time_is_absent() {
        assert_eq!(rate(10, Duration::ZERO), Value::Null);
        assert_eq!(rate(10, Duration::from_secs(4)), json!(2.5));
    }
}
