//! `cargo xtask clients`: the tests that need other people's programs.
//!
//! It installs kubectl and busybox itself, starts a throw-away Gantry of its own, and runs a table of cases, each in a
//! namespace of its own. A case is what a person would type. Nothing here may know more of Gantry than its command
//! line and its API, and nothing outlives the run.

mod build;
mod case;
mod chores;
mod connections;
mod deletion;
mod etcd;
mod everyday;
mod guestbook;
mod host;
pub(crate) mod house;
mod libraries;
mod objects;
mod operator;
mod readme;
mod registry;
mod rolling;
mod services;
mod streams;
pub(crate) mod tools;
mod traces;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use self::case::{Case, Pass, Tally};
use self::house::House;

/// What is run against what.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The gantry program; built in release mode when it isn't given.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// The etcd that servers have together; Debian's when it isn't given.
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,
    /// Only cases whose name contains one of these.
    #[arg(value_name = "NAME")]
    only: Vec<String>,
    /// Also compare codecs, patches and rules with Kubernetes' own code; needs the Go client and takes longer.
    #[arg(long)]
    oracles: bool,
    /// Also install and use an operator that people run; needs the Go client and takes longer.
    #[arg(long)]
    operator: bool,
}

/// The cases that run with each kubectl, in their order.
fn cases() -> impl Iterator<Item = &'static Case> {
    [
        readme::CASES,
        everyday::CASES,
        objects::CASES,
        workloads::CASES,
        streams::CASES,
        connections::CASES,
        deletion::CASES,
        services::CASES,
        rolling::CASES,
        host::CASES,
        registry::CASES,
    ]
    .into_iter()
    .flatten()
}

/// The cases for which the kubectl makes no difference, or that take too long to run with each; the operator's where it is
/// wanted.
fn once(operator: bool) -> impl Iterator<Item = &'static Case> {
    let operator = if operator { operator::CASES } else { &[] };
    [build::CASES, guestbook::CASES, operator].into_iter().flatten()
}

/// Runs everything; fails when a case does.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    let root = metadata.workspace_root.as_std_path();
    let target = metadata.target_directory.as_std_path().join("clients");
    std::fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    let mut tally = Tally::new(&arguments.only);
    let bin = match &arguments.bin {
        Some(bin) => std::path::absolute(bin)?,
        None => tools::build(root)?,
    };
    let mut all = cases().chain(once(arguments.operator));
    if all.any(|case| tally.wants(case.name)) || libraries::wanted(&tally) || tally.wants(traces::NAME) {
        with_house(&bin, &target, root, arguments.operator, &mut tally)?;
    }
    if etcd::wanted(&tally) {
        etcd::run(&bin, arguments.etcd.as_deref(), &target, root, &mut tally)?;
    }
    chores::run(arguments.oracles, &mut tally);
    if tally.known > 0 {
        println!("{} failed as known.txt says", tally.known);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("not all cases passed");
    }
    Ok(())
}

/// The cases that need a running Gantry, once with each kubectl.
fn with_house(
    bin: &std::path::Path,
    target: &std::path::Path,
    root: &std::path::Path,
    operator: bool,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let kubectls = tools::kubectls(target)?;
    let busybox = tools::busybox(target)?;
    let house = House::with_demo(bin)?;
    house.add_images(&busybox)?;
    for (number, kubectl) in kubectls.iter().enumerate() {
        println!("\nwith kubectl {}", kubectl.version);
        let pass = Pass {
            house: &house,
            kubectl,
            root,
            number,
        };
        let once = once(operator).filter(|_| number == 0);
        let wanted: Vec<_> = cases().chain(once).filter(|case| tally.wants(case.name)).collect();
        for case in wanted {
            tally.count(case.name, || pass.run(case));
        }
    }
    libraries::run(&house, &kubectls, target, root, tally)?;
    println!();
    tally.count(traces::NAME, || traces::none_left(house));
    Ok(())
}
