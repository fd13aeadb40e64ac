//! Puts the questions about the kinds' rules to Kubernetes' own Go code and writes down its answers, which `cargo test
//! -p api` then compares with ours.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::oracle::Oracle;

/// Builds the oracle, asks it everything and writes the answers.
pub(crate) fn run() -> anyhow::Result<()> {
    let oracle = Oracle::build("rules")?;
    let data = oracle.root.join("crates/api/src/rules/testdata");
    let text = oracle.answers(&[], Some(&data.join("questions.jsonl")))?;
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
