//! The supervisor: server and node run as its children, and are started again when they die.
//!
//! It knows nothing of either, so that nothing can make it fail. When it is killed itself they go on; the next
//! `gantry up` finds them. It is one thread that sleeps in one system call: no runtime, no threads, nothing that would
//! cost memory while nothing happens.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cli::Instance;
use cli::process::{Role, Running, one_line, own_program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

/// A process that ran this long starts again at once.
const GOOD_RUN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs until told to end; then both children have ended too.
pub(crate) fn run(instance: &Instance) -> anyhow::Result<()> {
    // Out of the reach of the terminal that started it.
    let _ = rustix::process::setsid();
    let told = told_to_end()?;
    instance.take_role(Role::Supervisor)?;
    instance.set_ready(Role::Supervisor)?;
    let roles = instance.stored_settings()?.map(|settings| settings.roles());
    let roles = roles.unwrap_or_else(|| vec![Role::Server, Role::Node]);
    let mut all: Vec<Kept> = roles.into_iter().map(|role| Kept::new(instance, role)).collect();
    while !happened(&told, &all)? {
        all.iter_mut().for_each(|kept| kept.go_on(instance));
        crate::footprint::settle();
    }
    for kept in &all {
        kept.tell_to_end();
    }
    for kept in &mut all {
        kept.wait();
    }
    instance.clear_role(Role::Supervisor);
    Ok(())
}

/// One of the two, and what it is at.
struct Kept {
    role: Role,
    stage: Stage,
    pause: Duration,
}

enum Stage {
    /// A child runs.
    Own(Child, OwnedFd, Instant),
    /// One that an earlier supervisor left runs. It is waited for, not doubled.
    Found(Running, OwnedFd),
    /// None runs until then.
    Pause(Instant),
}

impl Kept {
    fn new(instance: &Instance, role: Role) -> Self {
        let found = instance.running(role).and_then(|running| {
            let descriptor = pidfd_open(Pid::from_raw(running.pid)?, PidfdFlags::empty()).ok()?;
            // The descriptor is of that process only if the number was still its own.
            running.is_alive().then_some(Stage::Found(running, descriptor))
        });
        Self {
            role,
            stage: found.unwrap_or(Stage::Pause(Instant::now())),
            pause: FIRST_PAUSE,
        }
    }

    /// Readable when the process has ended.
    fn descriptor(&self) -> Option<&OwnedFd> {
        match &self.stage {
            Stage::Own(_, descriptor, _) | Stage::Found(_, descriptor) => Some(descriptor),
            Stage::Pause(_) => None,
        }
    }

    /// When there is something to do, if that is known.
    fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Pause(until) => Some(until),
            _ => None,
        }
    }

    /// Looks whether it has ended, and starts it when it is time.
    fn go_on(&mut self, instance: &Instance) {
        match &mut self.stage {
            Stage::Own(child, _, began) => {
                let status = match child.try_wait() {
                    Ok(None) => return,
                    Ok(Some(status)) => Ok(status),
                    Err(error) => Err(error),
                };
                let good = began.elapsed() >= GOOD_RUN;
                self.ended(status);
                self.rest(good);
            }
            Stage::Found(running, _) if running.is_alive() => {}
            Stage::Found(..) => self.stage = Stage::Pause(Instant::now()),
            Stage::Pause(until) if *until > Instant::now() => {}
            Stage::Pause(_) => match start(instance, self.role) {
                Ok((child, descriptor)) => self.stage = Stage::Own(child, descriptor, Instant::now()),
                Err(error) => {
                    say(format_args!("starting the {}: {}", self.role.name(), one_line(&error)));
                    self.rest(false);
                }
            },
        }
    }

    /// Pauses, longer each time that it did not run well.
    fn rest(&mut self, good: bool) {
        self.pause = if good {
            FIRST_PAUSE
        } else {
            (self.pause * 2).min(LONGEST_PAUSE)
        };
        self.stage = Stage::Pause(Instant::now() + self.pause);
    }

    fn tell_to_end(&self) {
        if let Some(descriptor) = self.descriptor() {
            // One that has ended already needs no telling.
            let _ = rustix::process::pidfd_send_signal(descriptor, Signal::TERM);
        }
    }

    fn wait(&mut self) {
        if let Some(descriptor) = self.descriptor() {
            while let Err(Errno::INTR) = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], None) {}
        }
        if let Stage::Own(child, ..) = &mut self.stage {
            let status = child.wait();
            self.ended(status);
        }
    }

    fn ended(&self, status: std::io::Result<ExitStatus>) {
        match status {
            Ok(status) => say(format_args!("the {} ended: {status}", self.role.name())),
            Err(error) => say(format_args!("waiting for the {}: {error}", self.role.name())),
        }
    }
}

/// A line for the log. `eprintln!` would end the process when the disk is full.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "gantry: {line}");
}

/// Sleeps until one of the two has ended or is to be started; true when told to end.
fn happened(told: &OwnedFd, both: &[Kept]) -> anyhow::Result<bool> {
    let mut watched = vec![PollFd::new(told, PollFlags::IN)];
    watched.extend(
        both.iter()
            .filter_map(|kept| Some(PollFd::new(kept.descriptor()?, PollFlags::IN))),
    );
    let due = both.iter().filter_map(Kept::due).min();
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut watched, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(!watched[0].revents().is_empty()),
        Err(error) => Err(error).context("waiting for the server and the node"),
    }
}

fn start(instance: &Instance, role: Role) -> anyhow::Result<(Child, OwnedFd)> {
    let path = instance.log_file(role);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    let child = Command::new(own_program()?)
        .arg("--data-dir")
        .arg(instance.dir())
        .arg(role.name())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting a process")?;
    let descriptor = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).context("watching a process")?;
    Ok((child, descriptor))
}

/// Where a signal's handler writes.
static TOLD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(_signal: libc::c_int) {
    // SAFETY: write(2) may be called by a handler; the descriptor stays open as long as the process runs.
    unsafe { libc::write(TOLD.load(Ordering::Relaxed), b".".as_ptr().cast(), 1) };
}

/// A descriptor that is readable once the process is told to end. Handlers, and no blocked signals: those would be
/// inherited by the children.
fn told_to_end() -> anyhow::Result<OwnedFd> {
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)
        .context("making a pipe")?;
    TOLD.store(tell.as_fd().as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(tell);
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler does nothing but write to a pipe.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        anyhow::ensure!(
            before != libc::SIG_ERR,
            "setting up signals: {}",
            std::io::Error::last_os_error()
        );
    }
    Ok(told)
}
