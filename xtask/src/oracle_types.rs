//! Puts the questions about the types in admission policies to Kubernetes' own Go code and writes down its answers, which
//! `cargo test -p api` then compares with ours; and what it makes of every built-in kind. Needs Go and, the first time, the
//! network and some minutes of two cores.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use cargo_metadata::MetadataCommand;

/// Builds the oracle, asks it everything and writes the answers.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    let root = metadata.workspace_root.as_std_path();
    let program = metadata.target_directory.as_std_path().join("oracle-types");
    let built = Command::new("go")
        .args(["build", "-mod=mod", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(root.join("xtask/oracle/types"))
        .status()
        .context("run go, which must be installed")?;
    ensure!(built.success(), "the oracle doesn't build");
    let data = root.join("crates/api/src/type_check/testdata");
    let questions = File::open(data.join("questions.jsonl")).context("open the questions")?;
    ask(&program, &[], Stdio::from(questions), &data.join("answers.jsonl"))?;
    ask(&program, &["kinds"], Stdio::null(), &data.join("kinds.tsv"))?;
    println!("answered; now: cargo test -p api type_check::");
    Ok(())
}

fn ask(program: &Path, arguments: &[&str], questions: Stdio, into: &Path) -> anyhow::Result<()> {
    let answers = Command::new(program).args(arguments).stdin(questions).output();
    let answers = answers.context("run the oracle")?;
    let said = String::from_utf8_lossy(&answers.stderr);
    ensure!(answers.status.success(), "the oracle failed: {said}");
    fs::write(into, answers.stdout).context("write the answers")
}
