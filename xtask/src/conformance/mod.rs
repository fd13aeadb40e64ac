//! `cargo xtask conformance`: Kubernetes' own conformance suite against a throw-away Gantry of two nodes.
//!
//! The suite, its runner and its images are built once, by the ordinary Go client and from the distribution's packages,
//! and kept in `${XDG_CACHE_HOME:-~/.cache}/gantry/conformance`. What failed is printed with its reason and the server's
//! log of that time, and `docs/conformance.md` is written anew. Nothing here may make a spec pass: it is run as it is.

mod images;
mod list;
mod page;
mod programs;
mod report;
mod root;
mod run;
mod told;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use self::page::{Page, Run};
use self::report::{Mark, Spec};
use crate::clients::house::House;
use crate::clients::tools;

/// The release whose suite is run.
pub(super) const KUBERNETES: &str = "1.37.2";
/// Ranges that no other instance of the tests has.
const RANGES: [&str; 4] = ["--pod-cidr", "10.223.0.0/16", "--service-cidr", "10.224.0.0/16"];

/// Which specs are run, and how.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only specs whose text matches this regular expression.
    #[arg(long, value_name = "RE")]
    focus: Option<String>,
    /// No specs whose text matches this regular expression.
    #[arg(long, value_name = "RE")]
    skip: Option<String>,
    /// How many specs run at once; serial ones run alone.
    #[arg(long, value_name = "N", default_value_t = 4)]
    procs: u16,
    /// The gantry program; built in release mode when it isn't given.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

/// Runs the specs; fails when one does.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    let root = metadata.workspace_root.as_std_path();
    let bin = match &arguments.bin {
        Some(bin) => std::path::absolute(bin)?,
        None => tools::build(root)?,
    };
    let cache = cache()?;
    let suite = programs::suite(&cache)?;
    let archive = images::archive(&cache, &suite, &bin)?;
    let last = run::fresh_directory(&cache)?;

    let house = start(&bin)?;
    tools::run(house.gantry(&["image", "import"]).arg(&archive)).context("importing the suite's images")?;
    let ran = run::specs(&house, &suite, &cache, &last, arguments);
    // The logs are of use also, and most of all, when the suite didn't come to its end.
    run::keep_logs(&house, &last);
    drop(house);
    let specs = ran?;

    told::tell(&specs, &last);
    write_page(root, &bin, arguments, &suite.sources, &specs)?;
    let count = |mark: Mark| specs.iter().filter(|spec| spec.mark == mark).count();
    let (passed, failed) = (count(Mark::Passed), count(Mark::Failed));
    println!("{passed} passed, {failed} failed; all output is in {}", last.display());
    if failed > 0 || passed == 0 {
        bail!("the suite doesn't pass");
    }
    Ok(())
}

/// The real server of the same release; built when it isn't there.
pub(crate) fn apiserver() -> anyhow::Result<PathBuf> {
    programs::apiserver(&cache()?)
}

/// Where what was built stays from run to run.
fn cache() -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    let cache = base.join("gantry/conformance").join(KUBERNETES);
    std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    Ok(cache)
}

fn start(bin: &Path) -> anyhow::Result<House> {
    // Nodes in networks of their own don't reach the loopback's addresses.
    let listen = TcpListener::bind("0.0.0.0:0")?.local_addr()?.to_string();
    let mut up = vec!["--nodes", "2", "--listen", listen.as_str()];
    up.extend(RANGES);
    House::start(bin, "conformance", &up)
}

fn write_page(root: &Path, bin: &Path, arguments: &Arguments, sources: &Path, specs: &[Spec]) -> anyhow::Result<()> {
    let yaml = sources.join("test/conformance/testdata/conformance.yaml");
    let yaml = std::fs::read_to_string(&yaml).with_context(|| format!("reading {}", yaml.display()))?;
    let file = root.join("docs/conformance.md");
    let mut page = Page::read(&std::fs::read_to_string(&file).unwrap_or_default());
    page.add(&this_run(root, bin, arguments)?, &list::names(&yaml), specs);
    std::fs::write(&file, page.text()).with_context(|| format!("writing {}", file.display()))
}

fn this_run(root: &Path, bin: &Path, arguments: &Arguments) -> anyhow::Result<Run> {
    let version = said(Command::new(bin).arg("version"))?;
    let commit = said(
        Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(root),
    )?;
    let changed = said(Command::new("git").args(["status", "--porcelain"]).current_dir(root))?;
    let mut command = String::from("cargo xtask conformance");
    for (name, value) in [("--focus", &arguments.focus), ("--skip", &arguments.skip)] {
        if let Some(value) = value {
            command.push_str(&format!(" {name} '{value}'"));
        }
    }
    command.push_str(&format!(" --procs {}", arguments.procs));
    let version = version.lines().next().unwrap_or_default();
    Ok(Run {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        version: format!(
            "{version}, commit {commit}{}",
            if changed.is_empty() { "" } else { " and changes" }
        ),
        command,
    })
}

fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
