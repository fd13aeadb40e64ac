//! `gantry up --nodes N`: further nodes on this machine, for trying things out. Each is a Gantry of its own that has
//! joined, with its own data directory, in a network namespace whose name is a file beside it:
//!
//! ```text
//! DATA/nodes/NAME/          the node's data directory
//! DATA/nodes/NAME.net       its network namespace
//! ```

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use network::{InstanceId, lab};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::instance::{Instance, Settings};
use crate::process::own_program;
use crate::progress::Progress;
use crate::token;
use crate::up::connect;

/// A token for nodes of this machine is of use for so long only.
const TOKEN_TTL: Duration = Duration::from_secs(600);
/// More would not be a trial any more, and their numbers are part of addresses.
pub(crate) const MOST: u8 = 32;

/// A node beside the first.
struct Extra {
    number: u8,
    name: String,
    data: PathBuf,
    namespace: PathBuf,
}

/// Whether such settings can work.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    if settings.nodes <= 1 {
        return Ok(());
    }
    ensure!(settings.nodes <= MOST, "--nodes is at most {MOST} on one machine");
    ensure!(
        !settings.no_node,
        "--nodes counts this machine's own node; leave --no-node away"
    );
    ensure!(
        !settings.listen.ip().is_loopback() && !settings.advertise_address.is_loopback(),
        "--nodes needs a server that nodes in their own networks reach; give --listen 0.0.0.0:{} and, where this machine \
         has no route to the world, --advertise-address",
        settings.listen.port()
    );
    Ok(())
}

/// Makes what is missing of the nodes beside the first, and waits until all are ready.
pub(crate) async fn bring_up(
    instance: &Instance,
    settings: &Settings,
    limit: Duration,
    progress: &Progress,
) -> anyhow::Result<()> {
    if settings.nodes <= 1 {
        return Ok(());
    }
    let client = connect(instance).await?;
    let line = token::line(
        instance,
        settings,
        &client,
        TOKEN_TTL,
        Some("nodes of this machine".into()),
    )
    .await?;
    let step = progress.step(format!("{} more nodes", settings.nodes - 1));
    let joining = extras(instance, settings).into_iter().map(|extra| {
        let (id, line) = (instance.id(), line.clone());
        tokio::task::spawn_blocking(move || join(&id, &extra, &line, limit))
    });
    let ended = futures::future::join_all(joining).await;
    token::forget(&client, &line.token).await?;
    for joined in ended {
        joined??;
    }
    step.done();
    Ok(())
}

fn extras(instance: &Instance, settings: &Settings) -> Vec<Extra> {
    let dir = directory(instance);
    let of = |number: u8| {
        let name = format!("{}-{number}", settings.node_name);
        Extra {
            number,
            data: dir.join(&name),
            namespace: dir.join(format!("{name}.net")),
            name,
        }
    };
    (2..=settings.nodes).map(of).collect()
}

fn directory(instance: &Instance) -> PathBuf {
    instance.dir().join("nodes")
}

fn join(id: &str, extra: &Extra, line: &token::Line, limit: Duration) -> anyhow::Result<()> {
    fs::create_dir_all(extra.data.parent().unwrap_or(Path::new("/"))).context("making the nodes' directory")?;
    make_namespace(&extra.namespace)?;
    let id = InstanceId::new(id).context("the instance's id")?;
    lab::plug(&id, extra.number, &extra.namespace)
        .with_context(|| format!("linking node {} to this machine", extra.name))?;
    let address = lab::Lab::of(&id).address(extra.number).to_string();
    let wait = format!("{}s", limit.as_secs().max(1));
    let (url, token) = (line.url.as_str(), line.token.to_string());
    let arguments = [
        "join",
        url,
        "--token",
        &token,
        "--node-name",
        &extra.name,
        "--node-ip",
        &address,
        "--wait",
        &wait,
    ];
    gantry(extra, &arguments).with_context(|| format!("node {}", extra.name))
}

/// Stops the nodes beside the first; with `purge`, nothing of them is left. It goes on after an error.
pub(crate) fn take_down(instance: &Instance, purge: bool) -> Vec<String> {
    let mut errors = Vec::new();
    let dir = directory(instance);
    let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let extra = Extra {
            number: 0,
            data: entry.path(),
            namespace: dir.join(format!("{name}.net")),
            name,
        };
        // After a reboot the namespace is gone, but files and cgroups may be there.
        let ready = make_namespace(&extra.namespace);
        let down: &[&str] = if purge { &["down", "--purge"] } else { &["down"] };
        let done = ready.and_then(|()| gantry(&extra, down));
        errors.extend(done.err().map(|error| format!("node {}: {error:#}", extra.name)));
    }
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "net") {
            let _ = unmount(entry.path(), UnmountFlags::DETACH);
            let _ = fs::remove_file(entry.path());
        }
    }
    if dir.exists()
        && let Some(id) = InstanceId::new(&instance.id())
    {
        errors.extend(lab::unplug_all(&id).iter().map(ToString::to_string));
    }
    errors
}

/// Runs this program for a node, in its network, to its end.
fn gantry(extra: &Extra, arguments: &[&str]) -> anyhow::Result<()> {
    let program = own_program()?;
    let namespace = File::open(&extra.namespace).with_context(|| format!("opening {}", extra.namespace.display()))?;
    let run = move || -> anyhow::Result<std::process::Output> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering the node's network")?;
        let mut command = Command::new(program);
        // The user's kubeconfig is the first node's business.
        command.arg("--data-dir").arg(&extra.data).args(arguments);
        command.env("KUBECONFIG", "/dev/null").stdin(Stdio::null());
        command.output().context("starting gantry")
    };
    // A child is in the network of the thread that starts it; this one ends right after.
    let output = std::thread::scope(|scope| {
        let there = scope.spawn(run);
        there
            .join()
            .unwrap_or_else(|_| bail!("the thread that starts gantry died"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or("it failed without a word");
    bail!("{}", said.strip_prefix("gantry: ").unwrap_or(said))
}

/// Makes a network namespace under a file's name, unless there is one.
fn make_namespace(file: &Path) -> anyhow::Result<()> {
    /// The file system of namespaces (`NSFS_MAGIC`).
    const NSFS: i64 = 0x6e73_6673;
    if rustix::fs::statfs(file).is_ok_and(|found| found.f_type == NSFS) {
        return Ok(());
    }
    let making = || format!("making the network {}", file.display());
    File::create(file).with_context(making)?;
    let make = || -> rustix::io::Result<()> {
        // SAFETY: only the network namespace of this thread, which ends right after, is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        mount_bind("/proc/thread-self/ns/net", file)
    };
    let made = std::thread::scope(|scope| scope.spawn(make).join());
    made.map_err(|_| anyhow::anyhow!("the thread died"))
        .and_then(|made| Ok(made?))
        .with_context(making)?;
    Ok(())
}
