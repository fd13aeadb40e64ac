//! Go programs that answer for Kubernetes' own code: one below `xtask/oracle` for each subject.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use cargo_metadata::MetadataCommand;

/// An oracle that is built.
pub(crate) struct Oracle {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
}

impl Oracle {
    /// Builds the one of this subject. Needs Go and, the first time, the network and some minutes of two cores.
    pub(crate) fn build(subject: &str) -> anyhow::Result<Oracle> {
        let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
        let root = metadata.workspace_root.into_std_path_buf();
        let program = metadata.target_directory.as_std_path().join("oracle").join(subject);
        let built = Command::new("go")
            .args(["build", "-mod=mod", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(root.join("xtask/oracle").join(subject))
            .status()
            .context("run go, which must be installed")?;
        ensure!(built.success(), "the oracle doesn't build");
        Ok(Oracle { root, program })
    }

    /// What it answers to the questions in a file, or to its arguments alone.
    pub(crate) fn answers(&self, arguments: &[&str], questions: Option<&Path>) -> anyhow::Result<String> {
        let questions = match questions {
            Some(path) => Stdio::from(std::fs::File::open(path).context("open the questions")?),
            None => Stdio::null(),
        };
        let answers = Command::new(&self.program).args(arguments).stdin(questions).output();
        let answers = answers.context("run the oracle")?;
        let said = String::from_utf8_lossy(&answers.stderr);
        ensure!(answers.status.success(), "the oracle failed: {said}");
        String::from_utf8(answers.stdout).context("read the answers")
    }
}
