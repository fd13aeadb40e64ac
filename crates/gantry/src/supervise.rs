//! The supervisor: server and node run as its children, and are started again when they die.
//!
//! It knows nothing of either, so that nothing can make it fail. When it is killed itself they go on; the next
//! `gantry up` finds them.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cli::Instance;
use cli::process::{Role, own_program};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// A process that ran this long starts again at once.
const GOOD_RUN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs until told to end; then both children have ended too.
pub(crate) async fn run(instance: Instance) -> anyhow::Result<()> {
    // Out of the reach of the terminal that started it.
    let _ = rustix::process::setsid();
    instance.take_role(Role::Supervisor)?;
    instance.set_ready(Role::Supervisor)?;
    let cancel = crate::until_told_to_end()?;
    tokio::join!(
        keep(&instance, Role::Server, &cancel),
        keep(&instance, Role::Node, &cancel)
    );
    instance.clear_role(Role::Supervisor);
    Ok(())
}

async fn keep(instance: &Instance, role: Role, cancel: &CancellationToken) {
    let mut pause = FIRST_PAUSE;
    // One that an earlier supervisor left is waited for, not doubled.
    while instance.running(role).is_some() && !cancel.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = cancel.cancelled() => {}
        }
    }
    while !cancel.is_cancelled() {
        let began = Instant::now();
        match start(instance, role) {
            Ok(child) => wait(child, role, cancel).await,
            Err(error) => eprintln!(
                "gantry: starting the {}: {}",
                role.name(),
                cli::process::one_line(&error)
            ),
        }
        if cancel.is_cancelled() {
            break;
        }
        pause = if began.elapsed() >= GOOD_RUN {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.cancelled() => {}
        }
    }
    if let Some(left) = instance.running(role) {
        left.signal(rustix::process::Signal::TERM);
    }
}

fn start(instance: &Instance, role: Role) -> anyhow::Result<Child> {
    let path = instance.log_file(role);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    Command::new(own_program()?)
        .arg("--data-dir")
        .arg(instance.dir())
        .arg(role.name())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting a process")
}

async fn wait(mut child: Child, role: Role, cancel: &CancellationToken) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = cancel.cancelled() => {
            if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            child.wait().await
        }
    };
    match status {
        Ok(status) => eprintln!("gantry: the {} ended: {status}", role.name()),
        Err(error) => eprintln!("gantry: waiting for the {}: {error}", role.name()),
    }
}
