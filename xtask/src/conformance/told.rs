//! Tells what failed, why, and what Gantry's processes logged meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::report::{Mark, Spec};

/// How many lines of a spec's own output and of a log are shown.
const SHOWN: usize = 15;

/// Prints all failures.
pub(super) fn tell(specs: &[Spec], last: &Path) {
    let logs = logs(last);
    for spec in specs.iter().filter(|spec| spec.mark == Mark::Failed) {
        println!("{}", failure(spec, &logs));
    }
}

/// The logs by their names.
fn logs(last: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(last).into_iter().flatten().flatten();
    let mut logs: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().strip_suffix(".log")?.to_string();
            let text = fs::read(entry.path()).ok()?;
            (name != "suite").then(|| (name, String::from_utf8_lossy(&text).into_owned()))
        })
        .collect();
    logs.sort_by(|(a, _), (b, _)| (a != "server", a).cmp(&(b != "server", b)));
    logs
}

fn failure(spec: &Spec, logs: &[(String, String)]) -> String {
    let took = spec.ended.duration_since(spec.began).as_secs_f64();
    let mut text = format!("FAILED  {} ({took:.1} s)\n", spec.name);
    let mut lines = |head: &str, lines: &[&str]| {
        for line in lines {
            let _ = writeln!(text, "        {head}{line}");
        }
    };
    lines("", &spec.why.lines().collect::<Vec<_>>());
    lines("at ", &[&spec.place]);
    let output: Vec<&str> = spec.output.lines().filter(|line| !line.trim().is_empty()).collect();
    lines("| ", &output[output.len().saturating_sub(SHOWN)..]);
    for (name, log) in logs {
        lines(&format!("{name}: "), &around(log, spec));
    }
    text
}

/// The last lines of a log from the time of a spec. Specs run side by side: lines that name one of its namespaces are
/// worth more than others, so where there are any, they are shown alone.
fn around<'a>(log: &'a str, spec: &Spec) -> Vec<&'a str> {
    let during = |line: &&str| {
        let at = line
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<Timestamp>().ok());
        at.is_some_and(|at| (spec.began..=spec.ended).contains(&at))
    };
    let lines: Vec<&str> = log.lines().filter(during).collect();
    let namespaces = namespaces(&spec.output);
    let about = |line: &&&str| namespaces.iter().any(|namespace| line.contains(namespace));
    let own: Vec<&str> = lines.iter().filter(about).copied().collect();
    let lines = if own.is_empty() { lines } else { own };
    lines[lines.len().saturating_sub(SHOWN)..].to_vec()
}

/// The namespaces that a spec says it works in.
fn namespaces(output: &str) -> Vec<&str> {
    let quoted = |line: &'_ str| -> Option<(usize, usize)> {
        let start = line.find("amespace \"")? + "amespace \"".len();
        Some((start, start + line[start..].find('"')?))
    };
    let mut found: Vec<&str> = output
        .lines()
        .filter_map(|line| quoted(line).map(|(start, end)| &line[start..end]))
        .filter(|name| !matches!(*name, "" | "default" | "kube-system"))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(output: &str) -> Spec {
        Spec {
            name: "[sig-node] Pods".into(),
            mark: Mark::Failed,
            why: "it broke\nbadly".into(),
            place: "test/e2e/a.go:7".into(),
            output: output.into(),
            began: "2026-11-24T10:00:01Z".parse().unwrap(),
            ended: "2026-11-24T10:00:03Z".parse().unwrap(),
        }
    }

    const LOG: &str = "\
2026-11-24T10:00:00.9Z  INFO before
2026-11-24T10:00:01.5Z  INFO pods-1: mine
2026-11-24T10:00:01.6Z  INFO other
2026-11-24T10:00:03.1Z  INFO after";

    #[test]
    fn the_log_around_it_is_that_of_its_time_and_namespace() {
        let without = around(LOG, &spec("nothing"));
        assert_eq!(without.len(), 2);
        let with = around(
            LOG,
            &spec("Building a namespace \"default\"\nin namespace \"pods-1\" now"),
        );
        assert_eq!(with, ["2026-11-24T10:00:01.5Z  INFO pods-1: mine"]);
    }

    #[test]
    fn a_failure_has_its_reason_its_place_and_its_logs() {
        let text = failure(&spec("STEP: one\n\nSTEP: two"), &[("server".into(), LOG.into())]);
        for expected in [
            "(2.0 s)",
            "badly",
            "at test/e2e/a.go:7",
            "| STEP: two",
            "server: 2026-11-24T10:00:01.6Z",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing in {text}");
        }
    }
}
