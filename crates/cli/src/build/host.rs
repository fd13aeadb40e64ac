//! The machine as a build sees it: commands run in containers of the engine, which is opened by the first of them.
//!
//! A command sees the host's network, unless it asks for none: the host's resolver (also one on loopback), its proxies
//! and its routes then work as they do for everything else here, nothing has to be set up, and nothing can be left
//! behind. It gets no more capabilities than a container, so it can read the network's state and not change it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, anyhow};
use engine::{ContainerId, ContainerSpec, Engine, Exit, LogSpec, Namespaces, RootFs, SandboxId, bundle};
use image::{Failure, Host, Job, Network, Room, Stream};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OnceCell, watch};

use super::cri::Lines;
use super::engine_config;
use super::mounts::Mounts;
use super::pull::Puller;
use crate::instance::Instance;

/// This machine, for one build.
pub(super) struct Machine {
    runtime: Handle,
    config: engine::Config,
    room: PathBuf,
    engine: OnceCell<Engine>,
    puller: Puller,
    told_to_end: watch::Sender<bool>,
    jobs: AtomicU32,
}

impl Machine {
    pub(super) fn new(runtime: Handle, room: &Room, instance: &Instance) -> Self {
        Self {
            runtime,
            config: engine_config(room, &instance.id()),
            room: room.dir().to_path_buf(),
            engine: OnceCell::new(),
            puller: Puller::new(instance),
            told_to_end: watch::Sender::new(false),
            jobs: AtomicU32::new(0),
        }
    }

    /// From now on an interrupt ends the build instead of the process.
    pub(super) fn listen_for_the_end(&self) {
        let told = self.told_to_end.clone();
        self.runtime.spawn(async move {
            let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
            let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            told.send_replace(true);
        });
    }

    pub(super) fn is_told_to_end(&self) -> bool {
        *self.told_to_end.borrow()
    }

    /// Removes what the engine has besides its files.
    pub(super) fn close(&self) -> anyhow::Result<()> {
        match self.engine.get() {
            Some(engine) => self.runtime.block_on(empty(engine)),
            None => Ok(()),
        }
    }

    async fn engine(&self) -> anyhow::Result<&Engine> {
        let open = || Engine::open(self.config.clone());
        self.engine.get_or_try_init(open).await.context("starting the engine")
    }

    fn run_job(&self, job: &Job, output: &mut dyn FnMut(Stream, &[u8])) -> anyhow::Result<i32> {
        let name = format!("c{}", self.jobs.fetch_add(1, Ordering::SeqCst));
        let dir = self.room.join("mounts").join(&name);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let mut mounts = Mounts::make(job, &dir)?;
        let exit = self.contained(job, &name, &mounts, output);
        mounts.undo();
        let removed = fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()));
        let exit = exit?;
        removed?;
        if exit.oom_killed {
            output(Stream::Err, b"the kernel ended it for want of memory\n");
        }
        Ok(exit.code)
    }

    fn contained(
        &self,
        job: &Job,
        name: &str,
        mounts: &Mounts,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> anyhow::Result<Exit> {
        let (sandbox, id) = (SandboxId::new(name)?, ContainerId::new(name)?);
        let log = self.room.join(format!("{name}.log"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &log, mode).with_context(|| format!("making {}", log.display()))?;
        // The shim writes the log as it comes, and the end of the pipe is the end of the container.
        let reader = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(&log);
        let mut reader = reader.with_context(|| format!("opening {}", log.display()))?;
        let spec = ContainerSpec {
            id: id.clone(),
            sandbox: sandbox.clone(),
            spec: spec(job, mounts)?,
            rootfs: RootFs::Overlay {
                lowers: job.lowers.clone(),
                upper: job.upper.clone(),
                work: job.work.clone(),
            },
            log: Some(LogSpec {
                path: log.clone(),
                max_size: 0,
                max_files: 1,
            }),
            stdin: false,
            stdin_once: false,
            labels: Vec::new(),
        };
        let exit = self.runtime.block_on(self.start(spec, job.network)).and_then(|engine| {
            let ended = self
                .runtime
                .spawn(until_the_end(engine.clone(), id, self.told_to_end.subscribe()));
            rustix::io::ioctl_fionbio(&reader, false).context("reading a log")?;
            let (mut lines, mut buffer) = (Lines::default(), vec![0; 64 << 10]);
            loop {
                match reader.read(&mut buffer).context("reading a log")? {
                    0 => break,
                    read => lines.push(&buffer[..read], output),
                }
            }
            self.runtime.block_on(ended).context("waiting for a container")?
        });
        let removed = match self.engine.get() {
            Some(engine) => self.runtime.block_on(engine.sandbox_remove(&sandbox)),
            None => Ok(()),
        };
        let _ = fs::remove_file(&log);
        let exit = exit?;
        removed.context("removing a container")?;
        Ok(exit)
    }

    /// Does what talks to the network, until the build is to end.
    fn unless_interrupted<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Failure> {
        let mut told = self.told_to_end.subscribe();
        let done = self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                _ = told.wait_for(|told| *told) => Err(anyhow!("interrupted")),
            }
        });
        done.map_err(|error| Failure(format!("{error:#}")))
    }

    async fn start(&self, spec: ContainerSpec, network: Network) -> anyhow::Result<Engine> {
        let engine = self.engine().await?.clone();
        let namespaces = Namespaces {
            network: network == Network::None,
            ..Namespaces::default()
        };
        let id = spec.id.clone();
        engine.sandbox_prepare(spec.sandbox.clone(), namespaces).await?;
        engine.create(spec).await?;
        engine.start(&id).await?;
        Ok(engine)
    }
}

impl Host for Machine {
    fn run(&self, job: &Job, output: &mut dyn FnMut(Stream, &[u8])) -> Result<i32, Failure> {
        self.run_job(job, output).map_err(|error| Failure(format!("{error:#}")))
    }

    fn fetch(&self, url: &str, to: &mut File) -> Result<Option<i64>, Failure> {
        self.unless_interrupted(async { Ok(image::download(url, to).await?) })
    }

    fn pull(&self, name: &str, output: &mut dyn FnMut(Stream, &[u8])) -> Result<(), Failure> {
        self.unless_interrupted(self.puller.pull(name, output))
    }

    fn cancelled(&self) -> bool {
        self.is_told_to_end()
    }
}

/// Waits for a container, and ends it when the build is to end.
async fn until_the_end(engine: Engine, id: ContainerId, mut told: watch::Receiver<bool>) -> anyhow::Result<Exit> {
    tokio::select! {
        exit = engine.wait(&id) => return Ok(exit?),
        _ = told.wait_for(|told| *told) => {}
    }
    engine.delete(&id).await?;
    Err(anyhow!("interrupted"))
}

/// What a command runs in: as any container, but on the host's network.
fn spec(job: &Job, mounts: &Mounts) -> anyhow::Result<Spec> {
    let mut spec = bundle::default_spec();
    spec.set_hostname(Some("build".to_string()));
    let mut all = spec.mounts().clone().unwrap_or_default();
    let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
    all.push(bundle::mount("/dev/shm", "tmpfs", "shm", &shm));
    all.extend(mounts.list.iter().cloned());
    spec.set_mounts(Some(all));
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(job.args.clone()));
        process.set_env(Some(job.env.clone()));
        process.set_cwd(job.cwd.clone().into());
        let mut user = process.user().clone();
        user.set_uid(job.uid)
            .set_gid(job.gid)
            .set_additional_gids(Some(job.groups.clone()));
        process.set_user(user);
    }
    if let Some(linux) = spec.linux_mut() {
        let capabilities = bundle::DEFAULT_CAPABILITIES.into_iter().collect();
        linux.set_seccomp(Some(engine::default_profile(&capabilities)));
        if job.network != Network::None {
            let mut namespaces = linux.namespaces().clone().unwrap_or_default();
            namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Network);
            linux.set_namespaces(Some(namespaces));
        }
    }
    Ok(spec)
}

async fn empty(engine: &Engine) -> anyhow::Result<()> {
    for sandbox in engine.sandboxes() {
        engine.sandbox_remove(&sandbox.id).await?;
    }
    engine.retire().await?;
    Ok(())
}

/// Ends and removes all that a build of before has in a room.
pub(super) async fn retire(room: &Room, instance: &str) -> anyhow::Result<()> {
    let config = engine_config(room, instance);
    if !config.state_dir.exists() {
        return Ok(());
    }
    empty(&Engine::open(config).await?).await
}
