//! What is on disk, in frozen formats: an engine finds again what any engine before it left. The shim writes `started`
//! and `exit` itself, as text; the engine's own records are JSON with a version.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::Context;
use crate::{Claim, ContainerId, Error, Exit, LogSpec, Namespaces, Result, RootFs, SandboxId, Started, Withheld};

/// The records' version.
pub(crate) const VERSION: u32 = 1;

/// `sandbox.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) version: u32,
    pub(crate) id: SandboxId,
    /// The boot that it was made in; its namespaces and cgroups are gone in another.
    pub(crate) boot: String,
    pub(crate) namespaces: Namespaces,
    pub(crate) claim: Option<Claim>,
}

/// `container.json`. The OCI configuration lies beside it as `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: ContainerId,
    pub(crate) sandbox: SandboxId,
    pub(crate) boot: String,
    pub(crate) created_at: Timestamp,
    pub(crate) cgroup: String,
    pub(crate) rootfs: RootFs,
    pub(crate) log: Option<LogSpec>,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) labels: Vec<(String, String)>,
}

/// Reads a record, if it is there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::BadState {
        path: path.into(),
        reason: error.to_string(),
    })
}

/// Writes a record in one step.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record);
    let bytes = bytes.map_err(|error| Error::BadState {
        path: path.into(),
        reason: error.to_string(),
    })?;
    replace(path, &bytes)
}

/// Puts a file in its place in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .context(|| format!("write {}", path.display()))
}

/// The same, and it is still whole after a power cut. For what an engine can't do without; records can be lost with the
/// power, since what they describe is lost too.
pub(crate) fn replace_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().context(|| format!("write {}", path.display()))
}

/// This boot's id.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What the shim noted when the program began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartedFile {
    pub(crate) started: Started,
    /// The process's start in the kernel's ticks, which tells it from a later one of the same number.
    pub(crate) ticks: u64,
}

impl StartedFile {
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(dir.join("started")).ok()?)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = fields(text, "gantry-started 1")?;
        let started = Started {
            pid: field("pid")?.parse().ok()?,
            started_at: time(field("started")?)?,
            withheld: Withheld::default(),
        };
        Some(Self {
            started,
            ticks: field("ticks")?.parse().ok()?,
        })
    }

    /// Whether that process still runs.
    pub(crate) fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.started.pid)).unwrap_or_default();
        let ticks = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split(' ').nth(20)?.parse::<u64>().ok());
        ticks == Some(self.ticks)
    }
}

/// Reads an exit file.
pub(crate) fn read_exit(dir: &Path) -> Option<Exit> {
    parse_exit(&fs::read_to_string(dir.join("exit")).ok()?)
}

pub(crate) fn parse_exit(text: &str) -> Option<Exit> {
    let field = fields(text, "gantry-exit 1")?;
    let signal = field("signal")?.parse::<i32>().ok()?;
    Some(Exit {
        code: field("code")?.parse().ok()?,
        signal: (signal != 0).then_some(signal),
        oom_killed: field("oom")? == "1",
        started_at: field("started").and_then(time),
        finished_at: time(field("finished")?)?,
        uncertain: field("uncertain") == Some("1"),
    })
}

/// Writes an exit file in the shim's stead.
pub(crate) fn write_exit(dir: &Path, exit: &Exit) -> Result<()> {
    let stamp = |time: Timestamp| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond());
    let started = exit
        .started_at
        .map(|time| format!("started {}\n", stamp(time)))
        .unwrap_or_default();
    let (code, signal, oom) = (exit.code, exit.signal.unwrap_or(0), u8::from(exit.oom_killed));
    let text = format!(
        "gantry-exit 1\ncode {code}\nsignal {signal}\noom {oom}\n{started}finished {}\nuncertain {}\n",
        stamp(exit.finished_at),
        u8::from(exit.uncertain)
    );
    replace(&dir.join("exit"), text.as_bytes())
}

fn fields<'a>(text: &'a str, first: &str) -> Option<impl Fn(&str) -> Option<&'a str>> {
    let rest = text.strip_prefix(first)?;
    Some(move |key: &str| rest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')))
}

fn time(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.')?;
    Timestamp::new(seconds.parse().ok()?, nanos.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_file_is_frozen() {
        let text =
            "gantry-exit 1\ncode 137\nsignal 9\noom 1\nstarted 1763830000.000000001\nfinished 1763830001.500000000\n";
        let exit = parse_exit(text).unwrap();
        assert_eq!(
            (exit.code, exit.signal, exit.oom_killed, exit.uncertain),
            (137, Some(9), true, false)
        );
        assert_eq!(exit.started_at, Some(Timestamp::new(1_763_830_000, 1).unwrap()));
        assert_eq!(exit.finished_at, Timestamp::new(1_763_830_001, 500_000_000).unwrap());
        assert_eq!(parse_exit("gantry-exit 2\ncode 1\n"), None);
    }

    #[test]
    fn the_started_file_is_frozen() {
        let file = StartedFile::parse("gantry-started 1\npid 42\nticks 1234\nstarted 10.000000020\n").unwrap();
        assert_eq!((file.started.pid, file.ticks), (42, 1234));
        assert_eq!(file.started.started_at, Timestamp::new(10, 20).unwrap());
    }

    #[test]
    fn the_records_are_frozen() {
        let text = r#"{"version":1,"id":"c","sandbox":"s","boot":"b","created_at":"2026-01-02T03:04:05Z",
            "cgroup":"p/s/c","rootfs":{"Overlay":{"lowers":["/l"],"upper":"/u","work":"/w"}},
            "log":{"path":"/log","max_size":1,"max_files":2},"stdin":false,"stdin_once":false,"labels":[["a","b"]]}"#;
        let record: ContainerRecord = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            text.replace("\n            ", "")
        );
        let text = r#"{"version":1,"id":"s","boot":"b","namespaces":{"network":true,"ipc":true,"uts":true,
            "shared_pid":false},"claim":{"owner":"o","hostname":"h","sysctls":[["k","v"]],"limits":{"cpu_shares":2,
            "cpu_quota":null,"cpu_period":null,"cpuset_cpus":null,"cpuset_mems":null,"memory":null,"pids":null}}}"#;
        let record: SandboxRecord = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            text.replace("\n            ", "")
        );
    }
}
