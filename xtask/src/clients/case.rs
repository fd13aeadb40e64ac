//! Cases, and the stage that each plays on: a namespace, a directory, a shell in which kubectl is the right one.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::house::House;
use super::tools::Kubectl;

/// How long a line may take, in seconds.
const PATIENCE: &str = "180";

/// Something that a person does with a client, and what must come of it.
pub(crate) struct Case {
    /// For people, and for the namespace.
    pub(crate) name: &'static str,
    /// Does it.
    pub(crate) run: fn(&Stage<'_>) -> anyhow::Result<()>,
}

/// One round through the cases.
pub(crate) struct Pass<'a> {
    /// The Gantry that is asked.
    pub(crate) house: &'a House,
    /// By which kubectl.
    pub(crate) kubectl: &'a Kubectl,
    /// The repository.
    pub(crate) root: &'a Path,
    /// Told from other rounds in the names of namespaces.
    pub(crate) number: usize,
}

/// Where a case plays.
pub(crate) struct Stage<'a> {
    /// The round.
    pub(crate) pass: &'a Pass<'a>,
    /// The case's namespace, which is also the default of its kubectl.
    pub(crate) namespace: String,
    dir: PathBuf,
    transcript: RefCell<String>,
}

/// What a line of shell did.
pub(crate) struct Done {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed, to both streams.
    pub(crate) text: String,
    /// What it printed to standard output.
    pub(crate) out: String,
}

/// The count of all.
pub(crate) struct Tally<'a> {
    only: &'a [String],
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Failed as `known.txt` says; neither of the others.
    pub(crate) known: usize,
}

/// What is known to fail, `case: why` a line. The list only shrinks: a case on it that passes is a failure.
const KNOWN: &str = include_str!("known.txt");

// === impl Tally ===

impl<'a> Tally<'a> {
    pub(crate) fn new(only: &'a [String]) -> Self {
        Self {
            only,
            passed: 0,
            failed: 0,
            known: 0,
        }
    }

    /// Whether a case of this name is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Runs a case and says what came of it.
    pub(crate) fn count(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<()>) {
        let began = Instant::now();
        let result = run();
        let took = began.elapsed().as_secs_f64();
        let known = KNOWN
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(case, _)| *case == name));
        match (result, known) {
            (Err(_), Some((_, why))) => {
                self.known += 1;
                println!("known   {name:<44} {took:6.1} s\n        {why}");
            }
            (Ok(()), Some(_)) => {
                self.failed += 1;
                println!("FAILED  {name:<44} {took:6.1} s\n        it passes: take it off known.txt");
            }
            (Ok(()), None) => {
                self.passed += 1;
                println!("ok      {name:<44} {took:6.1} s");
            }
            (Err(error), None) => {
                self.failed += 1;
                let text = format!("{error:#}").replace('\n', "\n        ");
                println!("FAILED  {name:<44} {took:6.1} s\n        {text}");
            }
        }
    }
}

// === impl Pass ===

impl Pass<'_> {
    /// Runs one case in a new namespace, which is deleted after it.
    pub(crate) fn run(&self, case: &Case) -> anyhow::Result<()> {
        let slug: String = case
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let namespace = format!("case-{}-{}", self.number, slug.to_lowercase().trim_matches('-'));
        let dir = self.house.work().join(&namespace);
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        std::fs::copy(self.house.kubeconfig(), dir.join("kubeconfig")).context("copying the kubeconfig")?;
        let stage = Stage {
            pass: self,
            namespace,
            dir,
            transcript: RefCell::default(),
        };
        let result = stage.open().and_then(|()| (case.run)(&stage));
        let result = result.map_err(|error| {
            let state = stage.state();
            let (transcript, logs) = (stage.transcript.borrow(), self.house.last_lines(12));
            anyhow::anyhow!("{error:#}\n--- what was done\n{transcript}--- then\n{state}--- Gantry's log\n{logs}")
        });
        stage.close();
        result
    }
}

// === impl Stage ===

impl Stage<'_> {
    fn open(&self) -> anyhow::Result<()> {
        let namespace = &self.namespace;
        self.sh(&format!("kubectl create namespace {namespace}"))?;
        self.sh(&format!("kubectl config set-context --current --namespace={namespace}"))?;
        // Pods are refused until their namespace has its account.
        self.sh("kubectl wait --for=create serviceaccount/default --timeout=30s")?;
        Ok(())
    }

    fn close(&self) {
        let _ = self.shell(&format!("kubectl delete namespace {} --wait=false", self.namespace));
    }

    /// What there is, for whoever must find out why a case failed.
    fn state(&self) -> String {
        let line = "kubectl get all -o wide; kubectl get events --sort-by=.metadata.creationTimestamp | tail -15";
        self.shell(line).map(|output| text(&output)).unwrap_or_default()
    }

    /// Writes a file that the case's lines find by its name.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Where a file of the case is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a line that takes more time than others, in seconds.
    pub(crate) fn long(&self, line: &str, patience: &str) -> anyhow::Result<Done> {
        let output = self.command_within(line, patience).output();
        Ok(self.noted(line, &output.with_context(|| format!("running `{line}`"))?))
    }

    /// Runs a line of bash, whatever it ends with.
    pub(crate) fn try_sh(&self, line: &str) -> anyhow::Result<Done> {
        Ok(self.noted(line, &self.shell(line)?))
    }

    fn noted(&self, line: &str, output: &Output) -> Done {
        let code = output.status.code().unwrap_or(-1);
        let done = Done {
            code,
            text: text(output),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
        };
        let mut transcript = self.transcript.borrow_mut();
        let _ = writeln!(transcript, "$ {line}\n{}", done.text.trim_end());
        if code != 0 {
            let _ = writeln!(transcript, "(exit code {code})");
        }
        drop(transcript);
        done
    }

    /// Runs a line of bash that must succeed; answers its standard output.
    pub(crate) fn sh(&self, line: &str) -> anyhow::Result<String> {
        let done = self.try_sh(line)?;
        ensure!(done.code == 0, "`{line}` ended with {}", done.code);
        Ok(done.out)
    }

    /// Runs a line that must succeed and print this.
    pub(crate) fn says(&self, line: &str, expected: &str) -> anyhow::Result<()> {
        let done = self.try_sh(line)?;
        ensure!(done.code == 0, "`{line}` ended with {}", done.code);
        ensure!(done.text.contains(expected), "`{line}` does not say {expected:?}");
        Ok(())
    }

    /// Runs a line whose standard output, without blanks around it, must be exactly this.
    pub(crate) fn prints(&self, line: &str, expected: &str) -> anyhow::Result<()> {
        let out = self.sh(line)?;
        ensure!(
            out.trim() == expected,
            "`{line}` prints {:?}, not {expected:?}",
            out.trim()
        );
        Ok(())
    }

    /// Runs a line that must fail and say this.
    pub(crate) fn refuses(&self, line: &str, expected: &str) -> anyhow::Result<()> {
        let done = self.try_sh(line)?;
        ensure!(done.code != 0, "`{line}` succeeded");
        ensure!(done.text.contains(expected), "`{line}` does not say {expected:?}");
        Ok(())
    }

    /// Repeats a line until it prints exactly this, for half a minute: for what `kubectl wait` cannot wait for.
    pub(crate) fn until(&self, line: &str, expected: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.shell(line)?;
            if output.status.success() && String::from_utf8_lossy(&output.stdout).trim() == expected {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("`{line}` still says {:?}, not {expected:?}", text(&output).trim());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn shell(&self, line: &str) -> anyhow::Result<Output> {
        self.command(line).output().with_context(|| format!("running `{line}`"))
    }

    /// A line as a command that hasn't started yet.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_within(line, PATIENCE)
    }

    fn command_within(&self, line: &str, patience: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", patience, "bash", "-uo", "pipefail", "-c", line])
            .current_dir(&self.dir)
            .env(
                "PATH",
                format!(
                    "{}:{}:{path}",
                    self.pass.kubectl.dir.display(),
                    self.pass.house.bin_dir().display()
                ),
            )
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("GANTRY_DATA_DIR", self.pass.house.data())
            .env("WORK", self.pass.house.work())
            .env("HOME", self.pass.house.work())
            .stdin(std::process::Stdio::null());
        command
    }
}

fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}
