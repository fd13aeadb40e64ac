//! Network namespaces without a name: they are held open by a descriptor and vanish with the last process in them, so
//! that a test that dies leaves none behind.
//!
//! No thread of the test itself is ever in a foreign namespace longer than one call.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network namespace. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// A fresh one with nothing but its loopback, which is up. Needs root.
    pub fn new() -> io::Result<Self> {
        let made = std::thread::spawn(|| {
            // SAFETY: only the network namespace of this thread, which ends right after, is unshared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
            super::interface::set_up("lo")?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().unwrap_or_else(|_| Err(died()))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// The one that a process is in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/ns/net"))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Runs something in it and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| self.enter().map(|()| work()));
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a program in it.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // The child is in the namespace of the thread that forks.
        self.run(|| command.spawn())?
    }

    /// Runs a program in it to its end.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.run(|| command.output())?
    }

    /// Runs asynchronous work whose sockets are to be in it: on a runtime of its own, all of whose threads are there.
    /// The work is made there, and never leaves its one thread.
    pub fn block_on<F>(&self, work: impl FnOnce() -> F + Send) -> io::Result<F::Output>
    where
        F: Future,
        F::Output: Send,
    {
        let inside = self.clone();
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_start(move || inside.enter().expect("entering a namespace that is held open"))
                .build()?;
            let done = runtime.block_on(async { work().await });
            runtime.shutdown_background();
            Ok(done)
        })?
    }

    /// Where other programs find it while this process lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(
            self.file.as_fd(),
            Some(LinkNameSpaceType::Network),
        )?)
    }
}

fn died() -> io::Error {
    io::Error::other("the thread that makes a namespace died")
}
