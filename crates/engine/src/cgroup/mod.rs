//! Cgroups of all three layouts: version 1, version 2, and hybrid, which counts as version 1 because that is where the
//! controllers are.
//!
//! Which file gets which value is decided purely, a file per controller; this file finds hierarchies and applies.

mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Errors};
use crate::{Error, Limits, Result, Stats};

/// A value to write into a controller's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// The controller, to find the hierarchy by.
    pub(crate) controller: &'static str,
    /// The file's name.
    pub(crate) file: &'static str,
    /// What to write.
    pub(crate) value: String,
}

/// The machine's hierarchies.
#[derive(Clone, Debug)]
pub(crate) enum Cgroups {
    /// A hierarchy per controller, or per few.
    V1(Vec<Hierarchy>),
    /// One hierarchy, by its mount point.
    V2(PathBuf),
}

/// A version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its controllers, or `name=...`.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
}

const V1_CONTROLLERS: [&str; 9] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "pids",
    "devices",
    "freezer",
    "blkio",
    "name=systemd",
];

impl Cgroups {
    /// Finds the hierarchies by the mounts of this process.
    pub(crate) fn detect() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo".into())?;
        Self::from_mountinfo(&text).ok_or_else(|| Error::Unsupported("a host without cgroups at /sys/fs/cgroup".into()))
    }

    fn from_mountinfo(text: &str) -> Option<Self> {
        let (mut v1, mut v2) = (Vec::<Hierarchy>::new(), None);
        for line in text.lines() {
            let Some((mount, source)) = line.split_once(" - ") else {
                continue;
            };
            let mut fields = mount.split(' ');
            let (root, at) = (fields.nth(3)?, fields.next()?);
            let kind = source.split(' ').next()?;
            if root != "/" || !at.starts_with("/sys/fs/cgroup") {
                continue;
            }
            if kind == "cgroup2" {
                v2 = Some(PathBuf::from(at));
            } else if kind == "cgroup" {
                let options = source.rsplit(' ').next()?.split(',');
                let controllers: Vec<_> = options
                    .filter(|o| V1_CONTROLLERS.contains(o))
                    .map(str::to_owned)
                    .collect();
                if !controllers.is_empty() && v1.iter().all(|known| known.controllers != controllers) {
                    v1.push(Hierarchy {
                        controllers,
                        mount: at.into(),
                    });
                }
            }
        }
        match (
            v1.iter()
                .any(|hierarchy| hierarchy.controllers.iter().any(|c| c == "memory")),
            v2,
        ) {
            (false, Some(mount)) => Some(Self::V2(mount)),
            (true, _) => Some(Self::V1(v1)),
            _ => None,
        }
    }

    fn mounts(&self) -> Vec<&Path> {
        match self {
            Self::V1(hierarchies) => hierarchies.iter().map(|hierarchy| hierarchy.mount.as_path()).collect(),
            Self::V2(mount) => vec![mount],
        }
    }

    /// The directory of a cgroup in a controller's hierarchy.
    fn dir(&self, controller: &str, cgroup: &str) -> Option<PathBuf> {
        match self {
            Self::V1(all) => all
                .iter()
                .find(|h| h.controllers.iter().any(|c| c == controller))
                .map(|h| h.mount.join(cgroup)),
            Self::V2(mount) => Some(mount.join(cgroup)),
        }
    }

    /// Makes a cgroup in all hierarchies. One that exists is kept.
    pub(crate) fn make(&self, cgroup: &str) -> Result<()> {
        for mount in self.mounts() {
            if let Self::V2(_) = self {
                v2::delegate(mount, cgroup)?;
            }
            let dir = mount.join(cgroup);
            fs::create_dir_all(&dir).context(|| format!("make cgroup {}", dir.display()))?;
        }
        if let Some(root) = self.dir("cpuset", "").filter(|_| matches!(self, Self::V1(_))) {
            v1::cpuset::inherit(&root, cgroup)?;
        }
        Ok(())
    }

    /// Removes a cgroup and those below it, in all hierarchies. What is gone already is fine.
    pub(crate) fn remove(&self, cgroup: &str) -> Result<()> {
        let mut errors = Errors::default();
        for mount in self.mounts() {
            errors.note(remove_tree(&mount.join(cgroup)));
        }
        errors.finish()
    }

    /// The names of the cgroups right below one.
    pub(crate) fn children(&self, cgroup: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for mount in self.mounts() {
            for entry in fs::read_dir(mount.join(cgroup)).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The files to write a pid to (version 1; on version 2 a process is made inside).
    pub(crate) fn procs_files(&self, cgroup: &str) -> Vec<PathBuf> {
        match self {
            Self::V1(_) => self
                .mounts()
                .iter()
                .map(|mount| mount.join(cgroup).join("cgroup.procs"))
                .collect(),
            Self::V2(_) => Vec::new(),
        }
    }

    /// The directory to make a process in (version 2).
    pub(crate) fn clone_dir(&self, cgroup: &str) -> Option<PathBuf> {
        match self {
            Self::V1(_) => None,
            Self::V2(mount) => Some(mount.join(cgroup)),
        }
    }

    /// What a container may see of its cgroups: name and directory (version 1).
    pub(crate) fn views(&self, cgroup: &str) -> Vec<(String, PathBuf)> {
        let Self::V1(hierarchies) = self else { return Vec::new() };
        let name = |h: &Hierarchy| h.mount.file_name().map(|name| name.to_string_lossy().into_owned());
        hierarchies
            .iter()
            .filter_map(|h| Some((name(h)?, h.mount.join(cgroup))))
            .collect()
    }

    /// The file that counts OOM kills.
    pub(crate) fn oom_file(&self, cgroup: &str) -> Option<PathBuf> {
        let file = if matches!(self, Self::V1(_)) {
            "memory.oom_control"
        } else {
            "memory.events"
        };
        self.dir("memory", cgroup).map(|dir| dir.join(file))
    }

    /// Sets limits.
    pub(crate) fn limit(&self, cgroup: &str, limits: &Limits) -> Result<()> {
        let writes = if matches!(self, Self::V1(_)) {
            v1::limits(limits)
        } else {
            v2::limits(limits)
        };
        self.apply(cgroup, &writes)
    }

    /// Keeps all devices from a cgroup but those that every container has and those that the bundle allows.
    pub(crate) fn allow_devices(&self, cgroup: &str, rules: &[oci_spec::runtime::LinuxDeviceCgroup]) -> Result<()> {
        match self {
            Self::V1(_) => self.apply(cgroup, &v1::devices::rules(rules)),
            // On version 2 this takes a BPF program, which is not there yet: CAP_MKNOD alone decides.
            Self::V2(_) => Ok(()),
        }
    }

    fn apply(&self, cgroup: &str, writes: &[Write]) -> Result<()> {
        for write in writes {
            let Some(dir) = self.dir(write.controller, cgroup) else {
                continue;
            };
            let path = dir.join(write.file);
            fs::write(&path, &write.value).context(|| format!("write {:?} to {}", write.value, path.display()))?;
        }
        Ok(())
    }

    /// What a cgroup uses.
    pub(crate) fn stats(&self, cgroup: &str) -> Result<Stats> {
        let read = |controller: &str, file: &str| -> Result<String> {
            let path = self.dir(controller, cgroup).unwrap_or_default().join(file);
            fs::read_to_string(&path).context(|| format!("read {}", path.display()))
        };
        if matches!(self, Self::V1(_)) {
            v1::stats(read)
        } else {
            v2::stats(read)
        }
    }

    /// The processes in a cgroup and below it.
    pub(crate) fn pids(&self, cgroup: &str) -> Vec<i32> {
        let Some(dir) = self.dir("pids", cgroup) else {
            return Vec::new();
        };
        let mut pids = Vec::new();
        collect_pids(&dir, &mut pids);
        pids
    }

    /// Kills all processes in a cgroup and below it, and waits until they are gone.
    pub(crate) fn kill(&self, cgroup: &str) -> Result<()> {
        if let Self::V2(mount) = self {
            let _ = fs::write(mount.join(cgroup).join("cgroup.kill"), "1");
        }
        // A process may fork while its siblings are being killed, so it takes turns until there is none.
        for turn in 0..2000u64 {
            let pids = self.pids(cgroup);
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_micros((turn * 50).min(5000)));
        }
        Err(Error::Io {
            what: format!("kill all of cgroup {cgroup}"),
            source: io::ErrorKind::TimedOut.into(),
        })
    }
}

fn collect_pids(dir: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(
        text.lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids);
        }
    }
}

fn remove_tree(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    // The last process may be dead and not yet reaped: the kernel lets go a moment later.
    for turn in 0..200u64 {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && turn < 199 => {
                std::thread::sleep(Duration::from_micros(100 + turn * 100));
            }
            Err(error) => return Err(error).context(|| format!("remove cgroup {}", dir.display())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
27 24 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
29 24 0:27 /inner /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
";

    #[test]
    fn hybrid_counts_as_version_1() {
        let Some(Cgroups::V1(found)) = Cgroups::from_mountinfo(HYBRID) else {
            panic!("not version 1")
        };
        let names: Vec<_> = found.iter().map(|hierarchy| hierarchy.controllers.join("+")).collect();
        assert_eq!(names, ["cpu+cpuacct", "memory", "name=systemd"]);
        assert_eq!(found[0].mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn version_2_is_one_mount() {
        let text = "30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(
            matches!(Cgroups::from_mountinfo(text), Some(Cgroups::V2(mount)) if mount == Path::new("/sys/fs/cgroup"))
        );
        assert!(Cgroups::from_mountinfo("").is_none());
    }
}
