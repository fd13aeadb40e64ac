//! Compares patches and server-side apply with Kubernetes' own libraries: builds the Go program that answers for them,
//! and starts the comparison, which is an example of the `api` crate so that this crate needs no product code.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::oracle::Oracle;

/// How much is compared.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many random cases.
    #[arg(long, default_value_t = 2_000)]
    cases: u64,
    /// The first case's seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds both sides and runs the comparison.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let oracle = Oracle::build("merge")?;
    let compared = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "api", "--example", "merge_oracle", "--"])
        .arg(&oracle.program)
        .args([arguments.cases.to_string(), arguments.seed.to_string()])
        .status()
        .context("starting cargo")?;
    ensure!(compared.success(), "merging differs from Kubernetes");
    Ok(())
}
