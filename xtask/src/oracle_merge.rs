//! Compares patches and server-side apply with Kubernetes' own libraries: builds the Go program that answers for them,
//! and starts the comparison, which is an example of the `api` crate so that this crate needs no product code.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

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
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    let program: PathBuf = metadata.target_directory.join("oracle").join("merge").into();
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(metadata.workspace_root.join("xtask/oracle/merge"))
        .status()
        .context("starting go")?;
    ensure!(built.success(), "the oracle doesn't build");
    let compared = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "api", "--example", "merge_oracle", "--"])
        .arg(&program)
        .args([arguments.cases.to_string(), arguments.seed.to_string()])
        .status()
        .context("starting cargo")?;
    ensure!(compared.success(), "merging differs from Kubernetes");
    Ok(())
}
