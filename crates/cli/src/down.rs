//! `gantry down`: processes and pods end; with `--purge` nothing is left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::instance::{Instance, UNFINISHED};
use crate::process::{Role, Running, is_root};
use crate::{kubeconfig, nodes, wait};

/// All that an instance keeps in its directory.
const KNOWN: [&str; 8] = [
    "settings.json",
    "admin.kubeconfig",
    "join.kubeconfig",
    "server",
    "node",
    "nodes",
    "run",
    "certs.d",
];
/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub async fn run(instance: Instance, purge_too: bool) -> anyhow::Result<()> {
    if !instance.dir().exists() {
        println!("nothing in {}", instance.dir().display());
        return Ok(());
    }
    if !is_root() {
        bail!("stopping a node needs root: run `sudo gantry down`");
    }
    if purge_too {
        check_is_ours(instance.dir())?;
        if let Some(file) = kubeconfig::user_file() {
            kubeconfig::remove(&instance, &file)?;
        }
        purge(&instance).await?;
        println!("removed {}", instance.dir().display());
    } else {
        stop(&instance).await?;
        println!("stopped; `gantry up` starts it again with everything it had");
    }
    Ok(())
}

/// Ends the processes and the pods, and takes away what they have in the kernel. Objects and images stay.
pub async fn stop(instance: &Instance) -> anyhow::Result<()> {
    stop_with(instance, false).await
}

async fn stop_with(instance: &Instance, purge: bool) -> anyhow::Result<()> {
    // The others are gone before their server is, and their links before the host's network.
    let mut errors = nodes::take_down(instance, purge);
    for role in [Role::Supervisor, Role::Node, Role::Server] {
        if let Some(running) = instance.running(role) {
            end(instance, running)?;
        }
        instance.clear_role(role);
    }
    if instance.dir().join("node").exists() {
        errors.extend(node::purge(instance.dir(), &instance.id()).await);
        let builds = crate::build::sweep(instance.dir(), &instance.id()).await;
        errors.extend(builds.err().map(|error| format!("{error:#}")));
    }
    instance.withdraw();
    if errors.is_empty() {
        Ok(())
    } else {
        bail!("some of it is still there: {}", errors.join("; "))
    }
}

/// What an instance has in its directory.
pub fn found(instance: &Instance) -> Vec<&'static str> {
    let there = |name: &&str| instance.dir().join(name).exists();
    KNOWN.into_iter().filter(there).collect()
}

/// As [`stop`], and the files go too, but for what is to be kept.
pub async fn empty(instance: &Instance, keep: &[&str]) -> anyhow::Result<()> {
    stop_with(instance, !keep.contains(&"nodes")).await?;
    for name in KNOWN.into_iter().filter(|name| !keep.contains(name)) {
        let path = instance.dir().join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => Ok(()),
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// As [`stop`], and all files go too.
pub async fn purge(instance: &Instance) -> anyhow::Result<()> {
    stop_with(instance, true).await?;
    match fs::remove_dir_all(instance.dir()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", instance.dir().display()))
        }
        _ => Ok(()),
    }
}

/// Files are only removed from a directory that an instance made.
pub(crate) fn check_is_ours(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let name = entry.with_context(|| format!("reading {}", dir.display()))?.file_name();
        if !is_known(&name.to_string_lossy()) {
            bail!(
                "{} has something that is not Gantry's: {:?}; move it away first",
                dir.display(),
                name
            );
        }
    }
    Ok(())
}

/// What is there, or what a process left of it that was killed while it wrote.
fn is_known(name: &str) -> bool {
    let of = |known: &&str| match name.strip_prefix(*known) {
        Some(rest) => rest.is_empty() || (rest.starts_with('.') && rest.ends_with(UNFINISHED)),
        None => false,
    };
    KNOWN.iter().any(of)
}

fn end(instance: &Instance, running: Running) -> anyhow::Result<()> {
    running.signal(Signal::TERM);
    let gone = wait_until_gone(instance, running, PATIENCE)?;
    if !gone {
        running.signal(Signal::KILL);
        if !wait_until_gone(instance, running, PATIENCE)? {
            bail!("process {} can't be ended", running.pid);
        }
    }
    Ok(())
}

fn wait_until_gone(instance: &Instance, running: Running, limit: Duration) -> anyhow::Result<bool> {
    // A process takes its signs away last.
    let found = wait::for_sign(&instance.run_dir(), limit, || (!running.is_alive()).then_some(()))?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn what_a_kill_leaves_is_known() {
        for name in [
            "server",
            "admin.kubeconfig",
            "admin.kubeconfig.4711.new",
            "settings.json.x1y2.new",
        ] {
            assert!(is_known(name), "{name}");
        }
        for name in ["servers", "letter.new", "admin.kubeconfig.old", "server.new.txt"] {
            assert!(!is_known(name), "{name}");
        }
    }
}
