//! Which processors and memory nodes may be used.

use std::fs;
use std::path::Path;

use super::super::Write;
use crate::error::Context;
use crate::{Limits, Result};

pub(super) fn limits(limits: &Limits) -> Vec<Write> {
    let write = |file, value: &String| Write {
        controller: "cpuset",
        file,
        value: value.clone(),
    };
    let mut writes = Vec::new();
    writes.extend(limits.cpuset_cpus.iter().map(|cpus| write("cpuset.cpus", cpus)));
    writes.extend(limits.cpuset_mems.iter().map(|mems| write("cpuset.mems", mems)));
    writes
}

/// A new cpuset is empty and takes no process; each on the way down gets what its parent has.
pub(in super::super) fn inherit(root: &Path, cgroup: &str) -> Result<()> {
    let mut dir = root.to_owned();
    for part in cgroup.split('/') {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let path = dir.join(file);
            let has = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
            if has.trim().is_empty() {
                let value = fs::read(parent.join(file)).context(|| format!("read {file} above {}", path.display()))?;
                fs::write(&path, value).context(|| format!("write {}", path.display()))?;
            }
        }
    }
    Ok(())
}
