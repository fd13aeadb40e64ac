//! The engine against runc, which is installed from the distribution: the same bundles under both, and a program inside
//! must report the same state.

use std::process::Command;

use anyhow::{Context, ensure};

/// Installs runc if it is missing, then builds and runs the contest.
pub(crate) fn run() -> anyhow::Result<()> {
    if Command::new("runc").arg("--version").output().is_err() {
        let installed = Command::new("apt-get")
            .args(["install", "-y", "runc"])
            .status()
            .context("run apt-get")?;
        ensure!(installed.success(), "apt-get could not install runc");
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let contest = Command::new(cargo)
        .args(["run", "--quiet", "--package", "engine", "--example", "contest"])
        .status();
    ensure!(contest.context("run cargo")?.success(), "the engine and runc differ");
    Ok(())
}
