//! A throw-away Gantry: its own data directory, port and ranges; the user's kubeconfig stays as it is.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::tools::{self, Kubectl};

const RANGES: [&str; 4] = ["--pod-cidr", "10.221.0.0/16", "--service-cidr", "10.222.0.0/16"];
/// busybox under the names of its programs.
const TOOLS: &str = "FROM scratch\nCOPY rootfs /\nENV PATH=/bin HOME=/\nCMD [\"sh\"]\n";
/// The demo's image once more, so that there is another version to roll to.
const SECOND: &str = "FROM gantry.local/hello:latest\nENV VERSION=2\n";

/// It ends with this value, and everything of it.
pub(crate) struct House {
    bin: PathBuf,
    work: PathBuf,
}

impl House {
    /// Starts it with the demo, for the clients' cases.
    pub(crate) fn with_demo(bin: &Path) -> anyhow::Result<Self> {
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut up = vec!["--demo", "--listen", &listen];
        up.extend(RANGES);
        Self::start(bin, "clients", &up)
    }

    /// Starts it for a chore, with what `gantry up` is to be told.
    pub(crate) fn start(bin: &Path, chore: &str, up: &[&str]) -> anyhow::Result<Self> {
        let work = std::env::temp_dir().join(format!("gantry-{chore}-{}", std::process::id()));
        fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
        let house = Self {
            bin: bin.to_path_buf(),
            work,
        };
        // Lines that say `gantry` mean this one.
        let bin_dir = house.bin_dir();
        fs::create_dir_all(&bin_dir).with_context(|| format!("making {}", bin_dir.display()))?;
        std::os::unix::fs::symlink(bin, bin_dir.join("gantry")).context("linking gantry")?;
        let up = house
            .gantry(&["up", "--no-kubeconfig"])
            .args(up)
            .stdin(Stdio::null())
            .status()
            .context("starting gantry")?;
        ensure!(up.success(), "gantry up failed:\n{}", house.last_lines(40));
        Ok(house)
    }

    /// Builds the images that cases use.
    pub(crate) fn add_images(&self, busybox: &Path) -> anyhow::Result<()> {
        let dir = self.work.join("tools");
        let bin = dir.join("rootfs/bin");
        for path in [&bin, &dir.join("rootfs/tmp"), &dir.join("rootfs/etc")] {
            fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        }
        fs::copy(busybox, bin.join("busybox")).context("copying busybox")?;
        let list = Command::new(busybox)
            .arg("--list")
            .output()
            .context("asking busybox for its programs")?;
        for name in String::from_utf8_lossy(&list.stdout)
            .lines()
            .filter(|name| *name != "busybox")
        {
            std::os::unix::fs::symlink("busybox", bin.join(name)).context("linking busybox's programs")?;
        }
        fs::write(dir.join("Dockerfile"), TOOLS)?;
        tools::run(self.gantry(&["image", "build", "-t", "gantry.local/tools:1"]).arg(&dir))?;
        let dir = self.work.join("second");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("Dockerfile"), SECOND)?;
        tools::run(self.gantry(&["image", "build", "-t", "gantry.local/hello:2"]).arg(&dir))
    }

    /// The program.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// The program, told which instance it is about.
    pub(crate) fn gantry(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg("--data-dir").arg(self.data()).args(arguments);
        command
    }

    /// A kubectl that is told where this is.
    pub(crate) fn kubectl(&self, kubectl: &Kubectl, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl.dir.join("kubectl"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Kills the server without a warning; what keeps it running starts it again. Answers who was killed.
    pub(crate) fn kill_server(&self) -> anyhow::Result<Pid> {
        let pid = self.server()?;
        kill_process(pid, Signal::KILL).context("killing the server")?;
        Ok(pid)
    }

    /// The server's process.
    pub(crate) fn server(&self) -> anyhow::Result<Pid> {
        let status = self.status()?;
        let pid = status["server"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).context("the status has no server.pid")
    }

    /// Takes it down; nothing may be left.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        tools::run(&mut self.gantry(&["down", "--purge"]))
    }

    /// Its name in the kernel.
    pub(crate) fn id(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        status["instance"]
            .as_str()
            .map(str::to_string)
            .context("the status has no instance")
    }

    fn status(&self) -> anyhow::Result<serde_json::Value> {
        let output = self
            .gantry(&["status", "-o", "json"])
            .output()
            .context("asking for the status")?;
        serde_json::from_slice(&output.stdout).context("reading the status")
    }

    /// A directory with the program under its own name.
    pub(crate) fn bin_dir(&self) -> PathBuf {
        self.work.join("bin")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.work.join("data")
    }

    /// Where files for it can be put.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// The administrator's credentials.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    /// The logs of its processes, those of further nodes too, by names for them.
    pub(crate) fn logs(&self) -> Vec<(String, PathBuf)> {
        let run = |dir: &Path| dir.join("run");
        let mut logs: Vec<_> = ["server", "node"]
            .map(|role| (role.to_string(), run(&self.data()).join(format!("{role}.log"))))
            .into();
        let nodes = fs::read_dir(self.data().join("nodes")).into_iter().flatten().flatten();
        for node in nodes.filter(|node| node.path().is_dir()) {
            let name = node.file_name().to_string_lossy().into_owned();
            logs.push((name, run(&node.path()).join("node.log")));
        }
        logs
    }

    /// The last lines of its processes' logs.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let mut text = String::new();
        for role in ["server", "node"] {
            let log = fs::read_to_string(self.data().join("run").join(format!("{role}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(count)..] {
                text.push_str(&format!("{role}: {line}\n"));
            }
        }
        text
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if self.data().exists()
            && let Err(error) = self.end()
        {
            eprintln!("gantry down: {error:#}");
        }
        // A directory that still has mounts in it must not be emptied through them.
        if !traces_in(&self.work) {
            let _ = fs::remove_dir_all(&self.work);
        }
    }
}

fn traces_in(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.contains(&*dir.to_string_lossy())
}
