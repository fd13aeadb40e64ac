//! The other comparisons with other people's programs, each counted as one case.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::case::Tally;

/// What is always run: the chore, and what it compares.
const ALWAYS: &[(&str, &str)] = &[("contest", "the engine against runc")];
/// What needs the Go client and more time.
const ORACLES: &[(&str, &str)] = &[
    ("oracle-codec", "the codecs against Kubernetes' vectors"),
    ("oracle-merge", "patches and apply against Kubernetes' code"),
];

/// Runs those that are wanted.
pub(crate) fn run(oracles: bool, tally: &mut Tally<'_>) {
    let sometimes = if oracles { ORACLES } else { &[] };
    for (chore, name) in ALWAYS.iter().chain(sometimes) {
        if tally.wants(name) {
            tally.count(name, || run_one(chore));
        }
    }
}

fn run_one(chore: &str) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("finding this program")?;
    let status = Command::new(own).arg(chore).status().context("starting it")?;
    ensure!(status.success(), "`cargo xtask {chore}` failed");
    Ok(())
}
