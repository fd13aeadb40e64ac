//! `docs/conformance.md`: every spec of the suite, and in which run it passed or failed. The page is also what is
//! remembered from run to run: a run that chooses some specs leaves what is known of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::KUBERNETES;
use super::report::{Mark, Spec};

/// How much of a reason is written down.
const REASON: usize = 240;

/// A run of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) date: String,
    pub(super) version: String,
    pub(super) command: String,
}

/// The page's content.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    runs: BTreeMap<usize, Run>,
    specs: BTreeMap<String, Row>,
}

/// What is known of a spec: nothing, or what a run said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    NotRun,
    Passed { run: usize },
    Failed { run: usize, why: String },
}

impl Page {
    /// Reads a page that was written before; anything else is empty.
    pub(super) fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            if let Some((number, run)) = read_run(line) {
                page.runs.insert(number, run);
            } else if let Some((name, row)) = read_row(line) {
                page.specs.insert(name, row);
            } else if let Some(reason) = line.strip_prefix("  - ")
                && let Some(Row::Failed { why, .. }) = page.last_failed(text, line)
            {
                *why = reason.to_string();
            }
        }
        page
    }

    /// The failed spec whose reason this line is: the one on the line above.
    fn last_failed(&mut self, text: &str, line: &str) -> Option<&mut Row> {
        let offset = line.as_ptr() as usize - text.as_ptr() as usize;
        let above = text[..offset].lines().next_back()?;
        let (name, _) = read_row(above)?;
        self.specs.get_mut(&name)
    }

    /// Adds what a run said. The list of all specs is the whole: what isn't on it any more goes, and so do runs that
    /// nothing refers to.
    pub(super) fn add(&mut self, run: &Run, all: &[String], specs: &[Spec]) {
        let number = self.runs.keys().next_back().map_or(1, |last| last + 1);
        self.runs.insert(number, run.clone());
        let known = |name: &String| (name.clone(), self.specs.get(name).cloned().unwrap_or(Row::NotRun));
        let mut rows: BTreeMap<String, Row> = all.iter().map(known).collect();
        for spec in specs {
            let row = match spec.mark {
                Mark::Passed => Row::Passed { run: number },
                Mark::Failed => Row::Failed {
                    run: number,
                    why: reason(&spec.why),
                },
                Mark::NotRun => continue,
            };
            rows.insert(spec.name.clone(), row);
        }
        self.specs = rows;
        let used: BTreeSet<usize> = self.specs.values().filter_map(Row::run).collect();
        self.runs.retain(|number, _| used.contains(number));
    }

    /// The page as it is written.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# Conformance\n\nWhat Kubernetes' own conformance suite, v{KUBERNETES}, says of Gantry: every one of its {} specs. \
             `cargo xtask\nconformance` runs it against a throw-away cluster of two nodes and writes this page; nothing in it is \
             edited by hand. A run\nthat chooses some specs leaves the others as the run before them left them.\n\n",
            self.specs.len()
        );
        self.write_counts(&mut text);
        text.push_str("\n## Runs\n\n| run | date | Gantry | command |\n|---|---|---|---|\n");
        for (number, run) in &self.runs {
            let command = run.command.replace('|', "\\|");
            let _ = writeln!(text, "| {number} | {} | {} | `{command}` |", run.date, run.version);
        }
        let mut area = "";
        for (name, row) in &self.specs {
            if area != area_of(name) {
                area = area_of(name);
                let _ = write!(text, "\n## {area}\n\n");
            }
            match row {
                Row::NotRun => writeln!(text, "- not run: {name}"),
                Row::Passed { run } => writeln!(text, "- passed in run {run}: {name}"),
                Row::Failed { run, why } => writeln!(text, "- **failed** in run {run}: {name}\n  - {why}"),
            }
            .unwrap_or_default();
        }
        text
    }

    fn write_counts(&self, text: &mut String) {
        let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        for (name, row) in &self.specs {
            let column = match row {
                Row::Passed { .. } => 0,
                Row::Failed { .. } => 1,
                Row::NotRun => 2,
            };
            for area in [area_of(name), "~"] {
                counts.entry(area).or_default()[column] += 1;
            }
        }
        text.push_str("| area | passed | failed | not run | of |\n|---|---|---|---|---|\n");
        for (area, [passed, failed, not_run]) in counts {
            let area = if area == "~" { "**all**" } else { area };
            let all = passed + failed + not_run;
            let _ = writeln!(text, "| {area} | {passed} | {failed} | {not_run} | {all} |");
        }
    }
}

impl Row {
    fn run(&self) -> Option<usize> {
        match self {
            Row::NotRun => None,
            Row::Passed { run } | Row::Failed { run, .. } => Some(*run),
        }
    }
}

/// `sig-node` of `[sig-node] Pods ...`.
fn area_of(name: &str) -> &str {
    let inside = name.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    inside.map_or("others", |(area, _)| area)
}

fn read_run(line: &str) -> Option<(usize, Run)> {
    let cells = line.strip_prefix("| ")?.strip_suffix("` |")?;
    let (front, command) = cells.split_once(" | `")?;
    let mut front = front.splitn(3, " | ");
    let number = front.next()?.parse().ok()?;
    Some((
        number,
        Run {
            date: front.next()?.to_string(),
            version: front.next()?.to_string(),
            command: command.replace("\\|", "|"),
        },
    ))
}

fn read_row(line: &str) -> Option<(String, Row)> {
    let line = line.strip_prefix("- ")?;
    if let Some(name) = line.strip_prefix("not run: ") {
        return Some((name.to_string(), Row::NotRun));
    }
    let (mark, name) = line.split_once(": ")?;
    let (mark, run) = mark.split_once(" in run ")?;
    let run = run.parse().ok()?;
    let row = match mark {
        "passed" => Row::Passed { run },
        "**failed**" => Row::Failed {
            run,
            why: String::new(),
        },
        _ => return None,
    };
    Some((name.to_string(), row))
}

/// A reason in one line.
fn reason(why: &str) -> String {
    let words: Vec<&str> = why.split_whitespace().collect();
    let words = words.join(" ");
    match words.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None if words.is_empty() => "no reason given".to_string(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, mark: Mark) -> Spec {
        Spec {
            name: name.into(),
            mark,
            why: "it broke:\n  badly".into(),
            place: String::new(),
            output: String::new(),
            began: jiff::Timestamp::UNIX_EPOCH,
            ended: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn run(command: &str) -> Run {
        Run {
            date: "2026-11-24".into(),
            version: "gantry 0.1.0, commit abc".into(),
            command: command.into(),
        }
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let mut page = Page::default();
        let specs = [
            spec("[sig-node] Pods: one", Mark::Passed),
            spec("[sig-node] Pods two", Mark::Failed),
            spec("[sig-apps] Job", Mark::NotRun),
        ];
        let all = specs.each_ref().map(|spec| spec.name.clone());
        page.add(&run("cargo xtask conformance --focus 'a|b'"), &all, &specs);
        let text = page.text();
        assert_eq!(Page::read(&text), page);
        for expected in [
            "its 3 specs",
            "| sig-node | 1 | 1 | 0 | 2 |",
            "| **all** | 1 | 1 | 1 | 3 |",
            "- passed in run 1: [sig-node] Pods: one\n",
            "- **failed** in run 1: [sig-node] Pods two\n  - it broke: badly\n",
            "- not run: [sig-apps] Job\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing in\n{text}");
        }
    }

    #[test]
    fn a_run_leaves_what_it_did_not_choose() {
        let mut page = Page::default();
        let (one, two) = ("[sig-node] one", "[sig-node] two");
        let all = [one, two].map(str::to_string);
        page.add(&run("first"), &all, &[spec(one, Mark::Passed), spec(two, Mark::Failed)]);
        page.add(
            &run("second"),
            &all,
            &[spec(one, Mark::NotRun), spec(two, Mark::Passed)],
        );
        assert_eq!(page.specs[one], Row::Passed { run: 1 });
        assert_eq!(page.specs[two], Row::Passed { run: 2 });
        // What a run doesn't know of isn't left out.
        page.add(&run("third"), &all, &[spec(one, Mark::Failed)]);
        assert_eq!(page.specs[two], Row::Passed { run: 2 });
        assert_eq!(page.runs.keys().copied().collect::<Vec<_>>(), [2, 3]);
    }
}
