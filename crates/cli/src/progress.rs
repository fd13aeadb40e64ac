//! Showing how long work gets on: a moving line on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A piece of work with steps.
pub struct Progress {
    began: Instant,
    bar: Option<ProgressBar>,
}

/// A step that is under way.
pub struct Step<'a> {
    progress: &'a Progress,
    text: String,
    began: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            began: Instant::now(),
            bar,
        }
    }

    /// Begins a step.
    pub fn step(&self, text: impl Into<String>) -> Step<'_> {
        let text = text.into();
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
            bar.enable_steady_tick(Duration::from_millis(80));
        }
        Step {
            progress: self,
            text,
            began: Instant::now(),
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Step<'_> {
    /// Ends a step: its line, with how long it took.
    pub fn done(self) -> Duration {
        let took = self.began.elapsed();
        self.progress.print(&format!("{:<44} {}", self.text, show(took)));
        took
    }
}

impl Progress {
    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.disable_steady_tick();
                bar.suspend(|| println!("{line}"));
                bar.set_message("");
            }
            None => println!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `12 ms`, `1.25 s`.
pub fn show(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
