//! The instance's processes: who runs, who has ended, and the signs that they leave in `run/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::instance::{Instance, write_whole};

/// A long-running process of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Keeps the other two running.
    Supervisor,
    /// API, controllers, scheduler.
    Server,
    /// This machine's pods.
    Node,
}

/// A process that can be told from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's clock ticks since boot.
    pub start_time: u64,
}

impl Role {
    /// As it stands in the names of its files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Supervisor => "supervisor",
            Role::Server => "server",
            Role::Node => "node",
        }
    }
}

impl Running {
    fn current() -> Option<Self> {
        let pid = i32::try_from(std::process::id()).ok()?;
        Some(Self {
            pid,
            start_time: start_time(pid)?,
        })
    }

    /// Whether it is still there.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Sends it a signal; nothing happens when it is gone.
    pub fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// The 22nd field of `/proc/PID/stat` (proc(5)); `None` when there is no such process, or only its remains.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may have blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

impl Instance {
    /// The process that has a role, if it runs.
    pub fn running(&self, role: Role) -> Option<Running> {
        let bytes = fs::read(self.sign(role, "pid")).ok()?;
        serde_json::from_slice::<Running>(&bytes)
            .ok()
            .filter(|running| running.is_alive())
    }

    /// Notes that this process has a role now. `Err` with the other one's number when one has it already.
    pub fn take_role(&self, role: Role) -> anyhow::Result<()> {
        if let Some(other) = self.running(role).filter(|other| Some(*other) != Running::current()) {
            anyhow::bail!(
                "the {} of {} runs already, as process {}",
                role.name(),
                self.dir().display(),
                other.pid
            );
        }
        fs::create_dir_all(self.run_dir()).with_context(|| format!("making {}", self.run_dir().display()))?;
        for sign in ["ready", "failed"] {
            let _ = fs::remove_file(self.sign(role, sign));
        }
        let own = Running::current().context("reading /proc")?;
        write_whole(&self.sign(role, "pid"), &serde_json::to_vec(&own)?)
    }

    /// Says that the process with this role does its work now.
    pub fn set_ready(&self, role: Role) -> anyhow::Result<()> {
        write_whole(&self.sign(role, "ready"), b"")
    }

    /// Whether the process with this role has said that it works.
    pub fn is_ready(&self, role: Role) -> bool {
        self.running(role).is_some() && self.sign(role, "ready").exists()
    }

    /// Leaves the reason why a process could not do its work, in one line.
    pub fn set_failed(&self, role: Role, reason: &str) {
        let _ = fs::create_dir_all(self.run_dir());
        let _ = write_whole(&self.sign(role, "failed"), reason.as_bytes());
    }

    /// That reason.
    pub fn failure(&self, role: Role) -> Option<String> {
        fs::read_to_string(self.sign(role, "failed")).ok()
    }

    /// Forgets the signs of a role.
    pub fn clear_role(&self, role: Role) {
        for sign in ["pid", "ready", "failed"] {
            let _ = fs::remove_file(self.sign(role, sign));
        }
    }

    /// Where a role's output goes.
    pub fn log_file(&self, role: Role) -> PathBuf {
        self.sign(role, "log")
    }

    fn sign(&self, role: Role, sign: &str) -> PathBuf {
        self.run_dir().join(format!("{}.{sign}", role.name()))
    }
}

/// An error and its causes in one line.
pub fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// Whether this process may do what a node must.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program that runs, so that it can start itself again.
pub fn own_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("finding the gantry program")?;
    // After an upgrade in place the kernel says that the old file is gone; the new one has its name.
    let text = path.to_string_lossy();
    Ok(match text.strip_suffix(" (deleted)") {
        Some(name) => Path::new(name).to_path_buf(),
        None => path,
    })
}
