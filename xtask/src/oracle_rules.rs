//! Puts the questions about the kinds' rules to Kubernetes' own Go code and writes down its answers, which `cargo test
//! -p api` then compares with ours. Needs Go and, the first time, the network and ten minutes of two cores.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use cargo_metadata::MetadataCommand;

/// Builds the oracle, asks it everything and writes the answers.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    let root = metadata.workspace_root.as_std_path();
    let program = metadata.target_directory.as_std_path().join("oracle-rules");
    let built = Command::new("go")
        .args(["build", "-mod=mod", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(root.join("xtask/oracle/rules"))
        .status()
        .context("run go, which must be installed")?;
    ensure!(built.success(), "the oracle doesn't build");
    let data = root.join("crates/api/src/rules/testdata");
    let questions = File::open(data.join("questions.jsonl")).context("open the questions")?;
    let answers = Command::new(&program)
        .stdin(Stdio::from(questions))
        .stderr(Stdio::null())
        .output()
        .context("run the oracle")?;
    ensure!(answers.status.success(), "the oracle failed");
    let text = String::from_utf8(answers.stdout).context("read the answers")?;
    for (number, line) in text.lines().enumerate() {
        ensure!(
            !line.starts_with("{\"failure\""),
            "question {} can't be answered: {line}",
            number + 1
        );
    }
    fs::write(data.join("answers.jsonl"), &text).context("write the answers")?;
    println!("{} answers; now: cargo test -p api rules::", text.lines().count());
    Ok(())
}
