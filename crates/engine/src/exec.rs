//! A process that runs beside a container's first one.

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shim::message;

use crate::channel::Channel;
use crate::error::Context;
use crate::plan::{self, Target};
use crate::state::{self, StartedFile};
use crate::{ContainerId, Engine, Error, ExecSpec, Exit, Result, Started, State, launch};

/// A process started by [`Engine::exec`]. Dropping it kills the process.
pub struct Exec {
    /// Its process id on the host.
    pub pid: i32,
    /// Where to write its input, if asked for: a pipe, or the terminal. Drop it to close. It does not block, like the
    /// other two.
    pub stdin: Option<OwnedFd>,
    /// Its output: a pipe, or the terminal (reading that fails with EIO at its end).
    pub stdout: Option<OwnedFd>,
    /// Its errors, without a terminal.
    pub stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    started: Started,
    channel: Channel,
    exit: Option<Exit>,
}

impl Exec {
    /// Sets the terminal's size.
    pub fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        let terminal = self
            .terminal
            .as_ref()
            .ok_or_else(|| Error::Invalid("the process has no terminal".into()))?;
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal, size).context(|| "set the terminal's size".into())
    }

    /// Waits until it has ended. Can be called again after a cancellation.
    pub async fn wait(&mut self) -> Result<Exit> {
        while self.exit.is_none() {
            let answer = self
                .channel
                .receive()
                .await?
                .ok_or_else(|| Error::ShimLost(format!("process {}", self.pid)))?;
            if answer.kind == message::EXITED {
                let signal = (answer.b == 1).then_some(answer.a);
                self.exit = Some(Exit {
                    code: signal.map_or(answer.a, |signal| 128 + signal),
                    signal,
                    oom_killed: false,
                    started_at: Some(self.started.started_at),
                    finished_at: launch::timestamp(answer.c / 1_000_000_000, answer.c % 1_000_000_000),
                    uncertain: false,
                });
            }
        }
        self.exit
            .ok_or_else(|| Error::ShimLost(format!("process {}", self.pid)))
    }
}

/// Our ends and the process's of its streams.
struct Streams {
    ours: [Option<OwnedFd>; 3],
    theirs: [OwnedFd; 3],
}

impl Streams {
    fn new(exec: &ExecSpec) -> Result<Self> {
        let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let make = || {
            let (mut ours, mut theirs) = ([const { None }; 3], [null()?, null()?, null()?]);
            if !exec.tty {
                for at in 1..3 {
                    let (read, write) = pipe()?;
                    (ours[at], theirs[at]) = (Some(read), write);
                }
                if exec.stdin {
                    let (read, write) = pipe()?;
                    (ours[0], theirs[0]) = (Some(write), read);
                }
            }
            for fd in ours.iter().flatten() {
                rustix::io::ioctl_fionbio(fd, true)?;
            }
            rustix::io::Result::Ok(Self { ours, theirs })
        };
        make().context(|| "make pipes".into())
    }
}

impl Engine {
    /// Runs another process in a running container.
    pub async fn exec(&self, id: &ContainerId, exec: ExecSpec) -> Result<Exec> {
        let entry = self.entry(id)?;
        let wrong = |state| Error::WrongState {
            id: id.to_string(),
            state,
            action: "run another process",
        };
        match &*entry.state.borrow() {
            State::Created => return Err(wrong("not started")),
            State::Running(_) => {}
            State::Exited(_) => return Err(wrong("ended")),
        }
        let dir = self.container_dir(id);
        let file = StartedFile::read(&dir).ok_or_else(|| wrong("not started"))?;
        let pid = Pid::from_raw(file.started.pid).ok_or_else(|| wrong("ended"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| wrong("ended"))?;
        // The descriptor is of that process only if the number was still its own.
        if !file.lives() {
            return Err(wrong("ended"));
        }
        let spec: Spec = state::read(&dir.join("config.json"))?;
        let cgroup = &entry.record.cgroup;
        let target = Target {
            cgroup_procs: self.inner.cgroups.procs_files(cgroup),
            cgroup_dir: self.inner.cgroups.clone_dir(cgroup),
            filter: self.inner.filters.of(&spec)?,
        };
        let plan = plan::exec(&spec, &exec, &target)?;
        let Streams {
            ours: [mut stdin, mut stdout, stderr],
            theirs,
        } = Streams::new(&exec)?;
        let channel = launch::shim(self.inner.shim.clone(), id.to_string()).await?;
        let fds = [theirs[0].as_fd(), theirs[1].as_fd(), theirs[2].as_fd(), pidfd.as_fd()];
        let (started, terminal) = launch::run(&channel, &plan, &fds).await?;
        if let Some(terminal) = &terminal {
            let copy = || {
                rustix::io::ioctl_fionbio(terminal, true)?;
                terminal.try_clone()
            };
            stdout = Some(copy().context(|| "share the terminal".into())?);
            if exec.stdin {
                stdin = Some(copy().context(|| "share the terminal".into())?);
            }
        }
        Ok(Exec {
            pid: started.pid,
            stdin,
            stdout,
            stderr,
            terminal,
            started,
            channel,
            exit: None,
        })
    }
}
