//! Puts the questions about the types in admission policies to Kubernetes' own Go code and writes down its answers, which
//! `cargo test -p api` then compares with ours; and what it makes of every built-in kind.

use std::fs;

use anyhow::Context as _;

use crate::oracle::Oracle;

/// Builds the oracle, asks it everything and writes the answers.
pub(crate) fn run() -> anyhow::Result<()> {
    let oracle = Oracle::build("types")?;
    let data = oracle.root.join("crates/api/src/type_check/testdata");
    let answers = oracle.answers(&[], Some(&data.join("questions.jsonl")))?;
    fs::write(data.join("answers.jsonl"), answers).context("write the answers")?;
    fs::write(data.join("kinds.tsv"), oracle.answers(&["kinds"], None)?).context("write the kinds")?;
    println!("answered; now: cargo test -p api type_check::");
    Ok(())
}
