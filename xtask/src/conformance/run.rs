//! Runs the suite against a Gantry and fetches its report.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::Arguments;
use super::programs::Suite;
use super::report::{self, Spec};
use crate::clients::house::House;
use crate::clients::tools;

const REPORT: &str = "report.json";
const OUTPUT: &str = "suite.log";

/// An empty directory for what this run leaves; that of the run before goes.
pub(super) fn fresh_directory(cache: &Path) -> anyhow::Result<PathBuf> {
    let last = cache.join("last");
    if last.exists() {
        fs::remove_dir_all(&last).with_context(|| format!("removing {}", last.display()))?;
    }
    fs::create_dir_all(&last).with_context(|| format!("making {}", last.display()))?;
    Ok(last)
}

/// Runs the chosen specs to their end.
pub(super) fn specs(
    house: &House,
    suite: &Suite,
    cache: &Path,
    last: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Vec<Spec>> {
    let kubectls = tools::kubectls(&cache.join("clients"))?;
    let kubectl = kubectls.first().context("no kubectl")?.dir.join("kubectl");
    let output = last.join(OUTPUT);
    println!("running the suite; `tail -f {}` shows how", output.display());
    let log = File::create(&output).with_context(|| format!("making {}", output.display()))?;
    let mut command = Command::new(&suite.runner);
    command
        .args(["run", "--no-color", "--timeout=24h", "--label-filter=Conformance"])
        .arg(format!("--procs={}", arguments.procs))
        .arg(format!("--json-report={REPORT}"))
        .arg(format!("--output-dir={}", last.display()));
    for (name, value) in [("--focus", &arguments.focus), ("--skip", &arguments.skip)] {
        command.args(value.iter().map(|value| format!("{name}={value}")));
    }
    command
        .arg(&suite.specs)
        .args([
            "--",
            "--provider=skeleton",
            "--dns-domain=cluster.local",
            "--disable-log-dump",
        ])
        .arg(format!("--kubeconfig={}", house.kubeconfig().display()))
        .arg(format!("--kubectl-path={}", kubectl.display()))
        .env("KUBECONFIG", house.kubeconfig())
        // kubectl keeps what it discovered there.
        .env("HOME", house.work())
        .current_dir(last)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("opening the log again")?)
        .stderr(log);
    // Its exit code says no more than the report.
    let status = command
        .status()
        .with_context(|| format!("running {}", suite.runner.display()))?;
    match fs::read_to_string(last.join(REPORT)) {
        Ok(text) => report::read(&text),
        Err(_) => bail!(
            "the suite ended with {status} and no report; {} says why",
            output.display()
        ),
    }
}

/// Copies the logs of all processes; they go with the instance.
pub(super) fn keep_logs(house: &House, last: &Path) {
    for (name, file) in house.logs() {
        if let Err(error) = fs::copy(&file, last.join(format!("{name}.log"))) {
            eprintln!("{} isn't kept: {error}", file.display());
        }
    }
}
