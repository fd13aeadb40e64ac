//! `gantry up`: from nothing to a ready node, once or again.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

use crate::args::UpArgs;
use crate::instance::{Instance, Settings, Turn};
use crate::preflight::{self, Machine, Wishes};
use crate::process::{Role, own_program};
use crate::progress::Progress;
use crate::{demo, down, join, kubeconfig, nodes, wait};

/// How long the supervisor may take to be there.
const SUPERVISOR: Duration = Duration::from_secs(20);

/// Starts what isn't running and waits until the node is ready.
pub async fn run(instance: Instance, args: UpArgs) -> anyhow::Result<()> {
    let progress = Progress::start();
    let running = instance.running(Role::Supervisor).is_some();
    let settings = instance.settings(&args.settings)?;
    if args.demo && (settings.no_node || settings.server.is_some()) {
        bail!("the demo needs a server with a node; leave --demo away");
    }
    if running || instance.running(Role::Server).is_some() {
        check_unchanged(&instance, &settings)?;
    }
    let before = Before::look(&instance);
    let started = !running && start(&instance, &settings, &before).await?;
    if let Err(error) = wait_until_ready(&instance, &settings, args.wait, &progress).await {
        if started {
            undo(&instance, &before).await;
        }
        return Err(error);
    }
    if settings.server.is_some() {
        let took = crate::progress::show(progress.elapsed());
        println!("node {} is ready after {took}", settings.node_name);
        return Ok(());
    }
    let context = add_context(&instance, args.no_kubeconfig)?;
    if args.demo {
        let client = connect(&instance).await?;
        demo::run(&instance, &settings, client, args.wait, &progress).await?;
    }
    tell(&instance, &settings, context.as_deref(), &progress);
    Ok(())
}

fn check_unchanged(instance: &Instance, wanted: &Settings) -> anyhow::Result<()> {
    match instance.stored_settings()? {
        Some(stored) if stored != *wanted => {
            bail!(
                "{} runs with other settings; `gantry down` first, then `gantry up` with the new ones",
                instance.dir().display()
            )
        }
        _ => Ok(()),
    }
}

/// What a node alone listens on: any port will do.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Asks for all that can be known beforehand; nothing is made yet.
fn check(instance: &Instance, settings: &Settings) -> anyhow::Result<()> {
    instance.check_others(settings)?;
    nodes::check(settings)?;
    // What of this instance still runs has what it needs; the supervisor joins it.
    if instance.running(Role::Server).is_some() {
        return Ok(());
    }
    let wishes = Wishes {
        dir: instance.dir(),
        instance: &instance.id(),
        listen: settings.server.as_ref().map_or(settings.listen, |_| NOWHERE),
        pods: settings.pod_cidr,
        services: settings.service_cidr,
    };
    Ok(preflight::can_have(&Machine, &wishes)?)
}

/// Starts the supervisor, unless somebody else has just done so: two that are told at once to start one instance, or
/// two that clash, take turns.
pub(crate) async fn start(instance: &Instance, settings: &Settings, before: &Before) -> anyhow::Result<bool> {
    preflight::can_run_node(&Machine)?;
    let turn = Turn::take()?;
    if instance.running(Role::Supervisor).is_some() {
        return Ok(false);
    }
    check(instance, settings)?;
    let (owned, wanted) = (instance.clone(), settings.clone());
    let started = move || supervise(&owned, &wanted);
    let started = tokio::task::spawn_blocking(started).await.context("starting")?;
    drop(turn);
    match started {
        Ok(()) => Ok(true),
        Err(error) => {
            undo(instance, before).await;
            Err(error)
        }
    }
}

/// Starts the supervisor and waits until it says that it is there.
fn supervise(instance: &Instance, settings: &Settings) -> anyhow::Result<()> {
    fs::create_dir_all(instance.run_dir()).with_context(|| format!("making {}", instance.run_dir().display()))?;
    instance.announce(settings)?;
    instance.store_settings(settings)?;
    for role in [Role::Server, Role::Node] {
        if instance.running(role).is_none() {
            instance.clear_role(role);
        }
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(instance.log_file(Role::Supervisor))
        .context("opening the log")?;
    Command::new(own_program()?)
        .arg("--data-dir")
        .arg(instance.dir())
        .arg("supervise")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("opening the log")?)
        .stderr(log)
        .spawn()
        .context("starting the supervisor")?;
    let there = || instance.is_ready(Role::Supervisor).then_some(());
    wait::for_sign(&instance.run_dir(), SUPERVISOR, there)?.context("the supervisor does not start")
}

async fn wait_until_ready(
    instance: &Instance,
    settings: &Settings,
    limit: Duration,
    progress: &Progress,
) -> anyhow::Result<()> {
    if settings.server.is_some() {
        return join::wait_until_ready(instance, settings, limit, progress).await;
    }
    let step = progress.step(format!("server at {}", settings.local_endpoint()));
    wait_for_role(instance, Role::Server, limit).await?;
    step.done();
    if settings.no_node {
        return Ok(());
    }
    let step = progress.step(format!("node {}", settings.node_name));
    let client = connect(instance).await?;
    let api: Api<Node> = Api::all(client);
    let ready = await_condition(api, &settings.node_name, |node: Option<&Node>| {
        node.is_some_and(node::is_ready)
    });
    let left = limit.saturating_sub(progress.elapsed());
    tokio::select! {
        result = tokio::time::timeout(left, ready) => match result {
            Ok(result) => result.map(drop).context("waiting for the node")?,
            Err(_) => return Err(not_ready(instance, Role::Node, limit)),
        },
        failure = failed(instance, Role::Node, left) => bail!("{failure}"),
    }
    step.done();
    nodes::bring_up(instance, settings, limit, progress).await
}

pub(crate) async fn wait_for_role(instance: &Instance, role: Role, limit: Duration) -> anyhow::Result<()> {
    let instance = instance.clone();
    let look = move || {
        let look = || match instance.failure(role) {
            Some(reason) => Some(Err(anyhow::anyhow!(reason))),
            None => instance.is_ready(role).then_some(Ok(())),
        };
        let found = wait::for_sign(&instance.run_dir(), limit, look)?;
        found.unwrap_or_else(|| Err(not_ready(&instance, role, limit)))
    };
    tokio::task::spawn_blocking(look).await.context("waiting")?
}

/// What the log said last goes into the message: a start that failed removes the log with everything else.
fn not_ready(instance: &Instance, role: Role, limit: Duration) -> anyhow::Error {
    let text = fs::read(instance.log_file(role)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let trouble = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let said = text.lines().rev().find(trouble).or(text.lines().last());
    let said = said.map_or("it has said nothing yet".to_owned(), |line| {
        format!("it said last: {}", line.trim())
    });
    anyhow::anyhow!("the {} is not ready after {} s; {said}", role.name(), limit.as_secs())
}

/// Ends when the process with this role says that it can't work.
async fn failed(instance: &Instance, role: Role, limit: Duration) -> String {
    let watched = instance.clone();
    let look = move || wait::for_sign(&watched.run_dir(), limit, || watched.failure(role));
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(Some(reason))) => reason,
        _ => std::future::pending().await,
    }
}

/// What was there before a start, so that one that fails can leave just that.
pub(crate) struct Before {
    /// What was in the data directory.
    had: Vec<&'static str>,
    /// The directories on the way to the data directory that were missing, the deepest first.
    missing: Vec<PathBuf>,
}

impl Before {
    pub(crate) fn look(instance: &Instance) -> Self {
        let missing = instance.dir().ancestors().take_while(|dir| !dir.exists());
        Self {
            had: down::found(instance),
            missing: missing.map(Path::to_path_buf).collect(),
        }
    }
}

/// A start that failed leaves nothing behind: what ran is stopped, and files that this start made go.
pub(crate) async fn undo(instance: &Instance, before: &Before) {
    if let Err(error) = down::empty(instance, &before.had).await {
        eprintln!("gantry: cleaning up after that: {error:#}");
    }
    for dir in &before.missing {
        // Goes only while it is empty.
        let _ = fs::remove_dir(dir);
    }
}

/// A client with the administrator's credentials.
pub async fn connect(instance: &Instance) -> anyhow::Result<Client> {
    let path = instance.admin_kubeconfig();
    if !path.exists() {
        bail!(
            "there is no Gantry in {}; `gantry up` starts one",
            instance.dir().display()
        );
    }
    client::from_kubeconfig(&path, None)
        .await
        .with_context(|| format!("using {}", path.display()))
}

fn add_context(instance: &Instance, leave_alone: bool) -> anyhow::Result<Option<String>> {
    match kubeconfig::user_file().filter(|_| !leave_alone) {
        Some(file) => kubeconfig::add(instance, &file).map(Some),
        None => Ok(None),
    }
}

fn tell(instance: &Instance, settings: &Settings, context: Option<&str>, progress: &Progress) {
    println!(
        "ready after {}: {}",
        crate::progress::show(progress.elapsed()),
        settings.local_endpoint()
    );
    match context {
        Some(context) => println!("kubectl --context {context} get pods -A"),
        None => println!(
            "kubectl --kubeconfig {} get pods -A",
            instance.admin_kubeconfig().display()
        ),
    }
}
