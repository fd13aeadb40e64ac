//! The user's shell commands that start, prepare and stop a cluster. What they print goes to stderr: stdout is the
//! result's.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How long a start command may still run once the node is ready, before it counts as one that stays.
const RETURNS: Duration = Duration::from_secs(5);
/// How long one that stays may take to end.
const ENDS: Duration = Duration::from_secs(60);

/// A start command: it may return once the cluster is up, or stay in the foreground.
pub(super) struct Started {
    /// Just before it was started.
    pub(super) began: Instant,
    command: String,
    child: Child,
    returned: Option<Duration>,
}

impl Started {
    pub(super) fn spawn(command: &str) -> anyhow::Result<Self> {
        let mut shell = shell(command);
        // A group of its own, so that one that stays can be ended with all its children.
        shell.process_group(0);
        let began = Instant::now();
        let child = shell.spawn().context("starting a shell")?;
        Ok(Self {
            began,
            command: command.to_owned(),
            child,
            returned: None,
        })
    }

    /// Does the work while the command runs; ends when the command fails.
    pub(super) async fn alongside<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut work = std::pin::pin!(tokio::time::timeout(limit, work));
        let mut result = None;
        while result.is_none() && self.returned.is_none() {
            tokio::select! {
                done = &mut work => result = Some(done),
                status = self.child.wait() => self.note(status?)?,
            }
        }
        let result = match result {
            Some(result) => result,
            None => work.await,
        };
        result.with_context(|| format!("not up {} s after `{}`", limit.as_secs(), self.command))
    }

    /// How long the command took, if it is one that returns.
    pub(super) async fn returned(&mut self, limit: Duration) -> anyhow::Result<Option<Duration>> {
        if self.returned.is_none()
            && let Ok(status) = tokio::time::timeout(limit.min(RETURNS), self.child.wait()).await
        {
            self.note(status?)?;
        }
        Ok(self.returned)
    }

    /// Ends a command that stays, with its children, and waits until it has, so that the next run starts from nothing.
    pub(super) async fn end(mut self) {
        self.terminate();
        if tokio::time::timeout(ENDS, self.child.wait()).await.is_err() {
            crate::report::progress(format!(
                "`{}` still runs {} s after SIGTERM",
                self.command,
                ENDS.as_secs()
            ));
        }
    }

    fn terminate(&self) {
        // One that returned has no id any more: what it left running is the stop command's.
        let group = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            // It may just have ended by itself.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    fn note(&mut self, status: ExitStatus) -> anyhow::Result<()> {
        check(&self.command, status)?;
        self.returned = Some(self.began.elapsed());
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Runs a command to its end.
pub(super) async fn run(command: &str) -> anyhow::Result<()> {
    let status = shell(command).status().await.context("starting a shell")?;
    check(command, status)
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    shell
}

fn check(command: &str, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("`{command}` failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_command_that_returns_is_timed() {
        let mut started = Started::spawn("exit 0").expect("starts");
        started
            .alongside(LIMIT, tokio::time::sleep(Duration::from_millis(1)))
            .await
            .expect("goes on after it returned");
        assert!(started.returned(LIMIT).await.expect("succeeds").is_some());
    }

    #[tokio::test]
    async fn a_command_that_fails_ends_the_wait() {
        let mut started = Started::spawn("exit 3").expect("starts");
        let error = started
            .alongside(LIMIT, std::future::pending::<()>())
            .await
            .expect_err("fails");
        assert!(error.to_string().contains("`exit 3` failed"), "{error}");
        assert!(run("false").await.is_err());
    }

    #[tokio::test]
    async fn a_command_that_stays_is_ended_with_its_children() {
        let mut started = Started::spawn("sleep 300 & wait").expect("starts");
        let group = Pid::from_raw(i32::try_from(started.child.id().expect("runs")).expect("an id")).expect("an id");
        started.alongside(LIMIT, async {}).await.expect("does not wait for it");
        started.end().await;
        let gone = async {
            // The kernel answers "no such process" once the whole group is gone.
            while rustix::process::test_kill_process_group(group).is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("ends");
    }
}
