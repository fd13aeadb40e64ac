//! A build's progress, as BuildKit's users know it: plain lines such as `#5 [2/4] RUN make`, or live on a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use image::{Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::args::Show;

/// How many of a failed command's last lines are shown again.
const LAST: usize = 20;

/// Where progress goes.
pub(super) struct Output {
    kind: Kind,
    steps: Mutex<BTreeMap<u32, Step>>,
    dockerfile: PathBuf,
}

enum Kind {
    Nothing,
    Plain,
    Live(MultiProgress),
}

/// A step that is under way, or has failed.
struct Step {
    name: String,
    began: Instant,
    /// Its output's last lines, each with its time.
    lines: Vec<String>,
    /// What has no line's end yet.
    rest: String,
    bar: Option<ProgressBar>,
    failed: bool,
}

impl Output {
    pub(super) fn new(show: Show, quiet: bool, dir: &Path, file: Option<&Path>) -> Self {
        let kind = match show {
            _ if quiet => Kind::Nothing,
            Show::Quiet => Kind::Nothing,
            Show::Auto if std::io::stderr().is_terminal() => Kind::Live(MultiProgress::new()),
            Show::Tty => Kind::Live(MultiProgress::new()),
            Show::Auto | Show::Plain => Kind::Plain,
        };
        Self {
            kind,
            steps: Mutex::default(),
            dockerfile: file.map_or_else(|| dir.join("Dockerfile"), Path::to_path_buf),
        }
    }

    /// Says what failed: the command's last lines, and the Dockerfile's.
    pub(super) fn failed(&self, error: &image::Error) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for step in steps.values().filter(|step| step.failed && !step.lines.is_empty()) {
            let _ = writeln!(text, "------\n > {}:", step.name);
            for line in &step.lines {
                let _ = writeln!(text, "{line}");
            }
            text.push_str("------\n");
        }
        if let image::Error::Dockerfile { line, .. } = error {
            text.push_str(&self.around(*line));
        }
        eprint!("{text}");
    }

    /// The lines around one of the Dockerfile.
    fn around(&self, line: usize) -> String {
        let Ok(text) = std::fs::read_to_string(&self.dockerfile) else {
            return String::new();
        };
        let file = self.dockerfile.file_name().unwrap_or_default().to_string_lossy();
        let mut shown = format!("{file}:{line}\n--------------------\n");
        for (number, content) in text.lines().enumerate().map(|(i, content)| (i + 1, content)) {
            if number.abs_diff(line) <= 2 {
                let mark = if number == line { ">>>" } else { "   " };
                let _ = writeln!(shown, "{number:4} | {mark} {content}");
            }
        }
        shown + "--------------------\n"
    }

    fn started(&self, step: u32, name: &str) -> Step {
        let mut bar = None;
        match &self.kind {
            Kind::Nothing => {}
            Kind::Plain => eprintln!("#{step} {name}"),
            Kind::Live(all) => {
                let new = all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                    new.set_style(style);
                }
                new.set_message(name.to_string());
                new.enable_steady_tick(Duration::from_millis(100));
                bar = Some(new);
            }
        }
        Step {
            name: name.to_string(),
            began: Instant::now(),
            lines: Vec::new(),
            rest: String::new(),
            bar,
            failed: false,
        }
    }

    fn ended(&self, number: u32, step: &Step, how: &str) {
        match (&self.kind, &step.bar) {
            (Kind::Plain, _) => eprintln!("#{number} {how}\n"),
            (Kind::Live(all), Some(bar)) => {
                bar.finish_and_clear();
                all.remove(bar);
                let line = match how.strip_prefix("DONE ") {
                    Some(time) => format!(" => {}  {time}", step.name),
                    None => format!(" => {how} {}", step.name),
                };
                // Nothing is lost when the terminal has gone.
                let _ = all.println(line);
            }
            _ => {}
        }
    }
}

impl Step {
    fn write(&mut self, number: u32, bytes: &[u8], kind: &Kind) {
        self.rest.push_str(&String::from_utf8_lossy(bytes));
        let mut shown = String::new();
        while let Some(end) = self.rest.find('\n') {
            let line = self.rest[..end].trim_end_matches('\r');
            // What a progress bar of the command has drawn over is not worth a line.
            let line = line.rsplit('\r').next().unwrap_or_default();
            let line = format!("{:.3} {line}", self.began.elapsed().as_secs_f64());
            self.rest.drain(..=end);
            match (kind, &self.bar) {
                (Kind::Plain, _) => {
                    let _ = writeln!(shown, "#{number} {line}");
                }
                (Kind::Live(_), Some(bar)) => {
                    let text = line.split_once(' ').map_or("", |(_, text)| text);
                    bar.set_message(format!("{}  {text}", self.name));
                }
                _ => {}
            }
            self.lines.push(line);
        }
        let over = self.lines.len().saturating_sub(LAST);
        self.lines.drain(..over);
        // One call, so that lines of steps that run at the same time are not mixed.
        let _ = std::io::stderr().write_all(shown.as_bytes());
    }
}

impl Progress for Output {
    fn event(&self, event: Event<'_>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { step, name } => drop(steps.insert(step, self.started(step, name))),
            Event::Output { step, bytes, .. } => {
                if let Some(found) = steps.get_mut(&step) {
                    found.write(step, bytes, &self.kind);
                }
            }
            Event::Done { step, cached } => {
                if let Some(found) = steps.remove(&step) {
                    let how = match cached {
                        true => "CACHED".to_string(),
                        false => format!("DONE {:.1}s", found.began.elapsed().as_secs_f64()),
                    };
                    self.ended(step, &found, &how);
                }
            }
            Event::Failed { step, reason } => {
                if let Some(found) = steps.get_mut(&step) {
                    found.write(step, b"\n", &Kind::Nothing);
                    found.lines.pop_if(|line| line.ends_with(' '));
                    found.failed = true;
                    self.ended(step, found, &format!("ERROR: {reason}"));
                }
            }
            Event::Warning(text) => match &self.kind {
                Kind::Nothing => {}
                Kind::Plain => eprintln!("WARN: {text}"),
                Kind::Live(all) => drop(all.println(format!("WARN: {text}"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_dockerfile() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM a\nRUN b\nRUN c\nRUN d\nRUN e\n").unwrap();
        let output = Output::new(Show::Quiet, false, dir.path(), None);
        let expected = "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b\n   3 |     RUN c\n   \
                        4 |     RUN d\n--------------------\n";
        assert_eq!(output.around(2), expected);
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut step = Output::new(Show::Quiet, false, Path::new("/"), None).started(1, "x");
        for number in 0..50 {
            step.write(1, format!("line {number}\nhalf").as_bytes(), &Kind::Nothing);
        }
        assert_eq!(step.lines.len(), LAST);
        assert!(step.lines[LAST - 1].ends_with("halfline 49"), "{:?}", step.lines);
    }
}
