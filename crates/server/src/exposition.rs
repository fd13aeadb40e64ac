//! Prometheus' text format as Kubernetes writes it: figures with their names, their labels and a line on what they are.
//! Which figures there are is said where they are counted.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

/// A figure: its name, its type, and what it is.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    /// With how settled the figure is, as Kubernetes says it.
    pub(crate) help: &'static str,
}

/// Labels in the order of their names.
pub(crate) type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Family {
    /// Appends one line for each of the values; nothing at all when there is none.
    pub(crate) fn write<'a>(&self, out: &mut String, values: impl IntoIterator<Item = (Labels<'a>, f64)>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.head(out);
        }
        for (labels, value) in values {
            line(out, self.name, "", &labels, None, value);
        }
    }

    /// The same for histograms.
    pub(crate) fn write_histograms<'a>(
        &self,
        out: &mut String,
        series: impl IntoIterator<Item = (Labels<'a>, &'a Histogram)>,
    ) {
        let mut series = series.into_iter().peekable();
        if series.peek().is_some() {
            self.head(out);
        }
        for (labels, histogram) in series {
            let mut below = 0;
            for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
                below += count;
                line(out, self.name, "_bucket", &labels, Some(&number(*bound)), below as f64);
            }
            let count = histogram.count as f64;
            line(out, self.name, "_bucket", &labels, Some("+Inf"), count);
            line(out, self.name, "_sum", &labels, None, histogram.sum);
            line(out, self.name, "_count", &labels, None, count);
        }
    }

    fn head(&self, out: &mut String) {
        let Family { name, kind, help } = self;
        // Writing into a String can't fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &Labels<'_>, bound: Option<&str>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
    for (at, (key, value)) in all.enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{before}{key}=\"{value}\"");
    }
    if !labels.is_empty() || bound.is_some() {
        out.push('}');
    }
    let _ = writeln!(out, " {}", number(value));
}

/// Durations, counted by how long they were.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: Vec<f64>) -> Histogram {
        Histogram {
            counts: vec![0; bounds.len()],
            bounds,
            count: 0,
            sum: 0.0,
        }
    }

    /// With so many buckets, each of which ends at twice the one before.
    pub(crate) fn doubling(first: f64, buckets: usize) -> Histogram {
        let bounds = std::iter::successors(Some(first), |bound| Some(bound * 2.0));
        Histogram::new(bounds.take(buckets).collect())
    }

    pub(crate) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += 1;
        self.sum += seconds;
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// A name that isn't for everybody, as a label.
pub(crate) fn hash(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("sha256:{}", hex::encode(Sha256::digest(text))),
    }
}

/// A number as Go writes it: bounds are labels, which people compare as texts.
fn number(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return value.to_string();
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // Whole numbers stay whole: counters are read by people, too.
    if (-4..21).contains(&exponent) && (exponent < 6 || value.fract() == 0.0) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        for (value, text) in [
            (0.0, "0"),
            (5e-6, "5e-06"),
            (0.00016, "0.00016"),
            (0.0001, "0.0001"),
            (83.886_08, "83.88608"),
            (60.0, "60"),
            (1_674_865_558.833_728, "1.674865558833728e+09"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn histograms_add_up() {
        let mut histogram = Histogram::new(vec![0.5, 1.0]);
        for half_seconds in [1, 2, 3] {
            histogram.observe(Duration::from_millis(500 * half_seconds));
        }
        let family = Family {
            name: "a_seconds",
            kind: "histogram",
            help: "[ALPHA] A.",
        };
        let mut out = String::new();
        family.write_histograms(&mut out, [(vec![("of", "\"x\"")], &histogram)]);
        assert_eq!(
            out,
            "# HELP a_seconds [ALPHA] A.\n# TYPE a_seconds histogram\n\
             a_seconds_bucket{of=\"\\\"x\\\"\",le=\"0.5\"} 1\na_seconds_bucket{of=\"\\\"x\\\"\",le=\"1\"} 2\n\
             a_seconds_bucket{of=\"\\\"x\\\"\",le=\"+Inf\"} 3\na_seconds_sum{of=\"\\\"x\\\"\"} 3\n\
             a_seconds_count{of=\"\\\"x\\\"\"} 3\n"
        );
        let mut none = String::new();
        family.write(&mut none, []);
        assert_eq!(none, "");
    }
}
