//! Checks the codecs against the vectors in the Go module `k8s.io/api`: every kind as JSON, YAML and protobuf. Fetches
//! the module with the ordinary Go client; without it, this fails.

use std::process::Command;

use anyhow::{Context as _, bail};

/// Runs the check.
pub(crate) fn run() -> anyhow::Result<()> {
    let vectors = crate::schema::module_dir("k8s.io/api")?.join("testdata/HEAD");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--package", "api", "--example", "codec_oracle", "--"])
        .arg(&vectors)
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the codecs differ from Kubernetes' vectors in {}", vectors.display());
    }
    Ok(())
}
