//! containerd as the peer: Debian's, with directories of its own, driven by its own `ctr`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

use crate::report;

/// A containerd that belongs to this run.
pub(super) struct Containerd {
    dir: PathBuf,
    child: Child,
    version: String,
}

impl Containerd {
    /// Installs it where it is missing, and starts it.
    pub(super) async fn start(dir: &Path) -> anyhow::Result<Self> {
        if Command::new("containerd").arg("--version").output().await.is_err() {
            report::progress("installing containerd");
            install().await?;
        }
        std::fs::create_dir_all(dir)?;
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = {socket:?}\n",
            root = dir.join("root"),
            state = dir.join("state"),
            socket = dir.join("sock"),
        );
        std::fs::write(dir.join("config.toml"), config)?;
        let log = std::fs::File::create(dir.join("log"))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting containerd")?;
        let mut peer = Self {
            dir: dir.to_path_buf(),
            child,
            version: String::new(),
        };
        for _ in 0..200 {
            if let Ok(text) = peer.ctr(&["version"], Duration::from_secs(5)).await {
                let version = text.lines().rev().find_map(|line| line.trim().strip_prefix("Version:"));
                peer.version = version.unwrap_or_default().trim().to_owned();
                report::progress(format!("containerd {} answers", peer.version));
                return Ok(peer);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        peer.end().await;
        bail!("containerd doesn't answer: {}", log.lines().last().unwrap_or_default())
    }

    /// Pulls an image and starts a container of it.
    pub(super) async fn start_container(&self, image: &str, limit: Duration) -> anyhow::Result<Duration> {
        let name = image.rsplit('/').next().unwrap_or(image).replace(':', "-");
        let began = Instant::now();
        self.ctr(&["image", "pull", "--plain-http", image], limit).await?;
        self.ctr(&["run", "--detach", "--null-io", image, &name], limit).await?;
        let taken = began.elapsed();
        self.ctr(&["task", "kill", "--signal", "KILL", &name], limit).await?;
        for _ in 0..100 {
            if self.ctr(&["task", "delete", &name], limit).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.ctr(&["container", "delete", &name], limit).await?;
        Ok(taken)
    }

    async fn ctr(&self, arguments: &[&str], limit: Duration) -> anyhow::Result<String> {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.dir.join("sock")).args(arguments);
        let output = tokio::time::timeout(limit, command.kill_on_drop(true).output())
            .await
            .context("ctr takes too long")?
            .context("running ctr")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "ctr {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(text)
    }

    /// Stops it; its directory goes with the bench's.
    pub(super) async fn end(mut self) {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(Duration::from_secs(10), self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}

async fn install() -> anyhow::Result<()> {
    for arguments in [
        &["update", "-qq"][..],
        &["install", "-y", "-qq", "--no-install-recommends", "containerd", "runc"],
    ] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        let output = command
            .output()
            .await
            .context("running apt-get; --no-peer measures without containerd")?;
        ensure!(
            output.status.success(),
            "apt-get {}: {}; --no-peer measures without containerd",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
