//! What Gantry may leave in the kernel, counted before and after.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::house::House;
use super::tools;

/// The name of the case.
pub(crate) const NAME: &str = "down --purge leaves nothing";

/// Everything of the kinds that Gantry makes, whoever made it.
pub(crate) struct Traces(BTreeSet<String>);

/// Takes the house down and compares.
pub(crate) fn none_left(house: House, before: &Traces) -> anyhow::Result<()> {
    house.end()?;
    let data = house.data();
    ensure!(!data.exists(), "{} is still there", data.display());
    drop(house);
    let after = Traces::count()?;
    let left: Vec<&String> = after.0.difference(&before.0).collect();
    ensure!(left.is_empty(), "left behind: {left:#?}");
    Ok(())
}

impl Traces {
    /// Counts what there is now.
    pub(crate) fn count() -> anyhow::Result<Self> {
        tools::ensure_program("nft", "nftables")?;
        let mut found = BTreeSet::new();
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
        let place = |line: &str| line.split(' ').nth(1).map(|place| format!("mount {place}"));
        found.extend(mounts.lines().filter(|line| line.contains("gantry")).filter_map(place));
        for link in std::fs::read_dir("/sys/class/net").context("reading the links")? {
            found.insert(format!("link {}", link?.file_name().to_string_lossy()));
        }
        let tables = Command::new("nft")
            .args(["list", "tables"])
            .output()
            .context("running nft")?;
        ensure!(
            tables.status.success(),
            "nft: {}",
            String::from_utf8_lossy(&tables.stderr)
        );
        let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
        found.extend(
            tables
                .lines()
                .filter(|line| line.contains("gantry"))
                .map(|line| format!("nft {line}")),
        );
        cgroups(Path::new("/sys/fs/cgroup"), 4, &mut found);
        processes(&mut found)?;
        Ok(Self(found))
    }
}

fn cgroups(dir: &Path, depth: usize, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with("gantry-") {
            found.insert(format!("cgroup {}", entry.path().display()));
        } else if depth > 0 {
            cgroups(&entry.path(), depth - 1, found);
        }
    }
}

/// Processes in a network namespace that isn't this one's, or in one of Gantry's cgroups.
fn processes(found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if cgroup.contains("/gantry-") {
            found.insert(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(())
}
