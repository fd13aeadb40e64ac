//! Containers: created on disk, started through a shim, watched until they end, deleted without a trace.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use parking_lot::Mutex;
use shim::message;
use tokio::sync::watch;

use crate::channel::Channel;
use crate::engine::blocking;
use crate::error::{Context, Errors};
use crate::plan::{self, Place, Plan};
use crate::sandbox::Parked;
use crate::state::{self, ContainerRecord, StartedFile};
use crate::{
    Attached, Container, ContainerId, ContainerSpec, Engine, Error, Event, Exit, Limits, Namespaces, Result, RootFs,
    SandboxId, Started, State, Stats, launch, namespaces,
};

/// A container that the engine knows.
pub(crate) struct Entry {
    pub(crate) record: ContainerRecord,
    pub(crate) state: watch::Sender<State>,
    /// What was prepared for the start.
    ready: Mutex<Ready>,
}

#[derive(Default)]
struct Ready {
    parked: Option<Parked>,
    /// Compiled ahead, for the first attempt.
    plan: Option<Plan>,
    /// Somebody is starting it.
    taken: bool,
}

impl Engine {
    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.inner.config.state_dir.join("containers").join(id.as_str())
    }

    pub(crate) fn entry(&self, id: &ContainerId) -> Result<Arc<Entry>> {
        self.inner
            .containers
            .lock()
            .get(id)
            .cloned()
            .ok_or_else(|| Error::NoContainer(id.clone()))
    }

    /// Notes a container, durably, and prepares its cgroup; nothing runs yet.
    pub async fn create(&self, spec: ContainerSpec) -> Result<()> {
        let has = self.slot(&spec.sandbox, |slot| slot.record.namespaces)?;
        let parked = if suits_parked(&spec.spec, has) {
            self.take_parked(&spec.sandbox)
        } else {
            None
        };
        let cgroup = match &parked {
            Some(parked) => parked.cgroup.clone(),
            None => format!("{}/{}", self.sandbox_cgroup(&spec.sandbox), spec.id),
        };
        let record = ContainerRecord {
            version: state::VERSION,
            id: spec.id.clone(),
            sandbox: spec.sandbox,
            boot: self.inner.boot.clone(),
            created_at: Timestamp::now(),
            cgroup,
            rootfs: spec.rootfs,
            log: spec.log,
            stdin: spec.stdin,
            stdin_once: spec.stdin_once,
            labels: spec.labels,
        };
        let (waits, id) = (parked.is_some(), spec.id.clone());
        let ready = Ready {
            parked,
            plan: None,
            taken: false,
        };
        let entry = Entry {
            record: record.clone(),
            state: watch::Sender::new(State::Created),
            ready: Mutex::new(ready),
        };
        {
            let mut containers = self.inner.containers.lock();
            if containers.contains_key(&spec.id) {
                return Err(Error::Exists(format!("container {}", spec.id)));
            }
            containers.insert(spec.id.clone(), Arc::new(entry));
        }
        let (engine, bundle) = (self.clone(), spec.spec);
        let made = blocking(move || {
            engine.make(&record, &bundle)?;
            engine.compile(&record, &bundle, waits)
        });
        let made = made.await.and_then(|plan| {
            self.entry(&id)?.ready.lock().plan = Some(plan);
            Ok(())
        });
        if made.is_err()
            && let Err(undo) = self.delete(&spec.id).await
        {
            tracing::warn!(%undo, container = %spec.id, "cannot undo a container");
        }
        made
    }

    fn make(&self, record: &ContainerRecord, spec: &Spec) -> Result<()> {
        let dir = self.container_dir(&record.id);
        fs::create_dir_all(dir.join("rootfs")).context(|| format!("make {}", dir.display()))?;
        state::write(&dir.join("config.json"), spec)?;
        state::write(&dir.join("container.json"), record)?;
        if let RootFs::Overlay { upper, work, .. } = &record.rootfs {
            for dir in [upper, work] {
                fs::create_dir_all(dir).context(|| format!("make {}", dir.display()))?;
            }
        }
        self.inner.cgroups.make(&record.cgroup)?;
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let devices = resources
            .and_then(|resources| resources.devices().clone())
            .unwrap_or_default();
        self.inner.cgroups.allow_devices(&record.cgroup, &devices)?;
        self.inner
            .cgroups
            .limit(&record.cgroup, &resources.map(Limits::from).unwrap_or_default())
    }

    /// Starts a created container; returns when its program runs. One that failed to start may be started again.
    pub async fn start(&self, id: &ContainerId) -> Result<Started> {
        let entry = self.entry(id)?;
        let wrong = |state| {
            Err(Error::WrongState {
                id: id.to_string(),
                state,
                action: "start",
            })
        };
        match &*entry.state.borrow() {
            State::Created => {}
            State::Running(_) => return wrong("running"),
            State::Exited(_) => return wrong("ended"),
        }
        let (parked, plan) = {
            let mut ready = entry.ready.lock();
            if ready.taken {
                return wrong("starting");
            }
            ready.taken = true;
            (ready.parked.take(), ready.plan.take())
        };
        let launched = self.launch(&entry, parked, plan).await;
        entry.ready.lock().taken = false;
        let (started, channel) = launched?;
        entry.state.send_replace(State::Running(started));
        tokio::spawn(self.clone().watch(entry, channel));
        Ok(started)
    }

    async fn launch(&self, entry: &Entry, parked: Option<Parked>, plan: Option<Plan>) -> Result<(Started, Channel)> {
        let record = &entry.record;
        let plan = match plan {
            Some(plan) => plan,
            None => {
                let spec: Spec = state::read(&self.container_dir(&record.id).join("config.json"))?;
                self.compile(record, &spec, parked.is_some())?
            }
        };
        let channel = match parked {
            Some(parked) => parked.shim,
            None => launch::shim(self.inner.shim.clone(), record.id.to_string()).await?,
        };
        let (started, _) = launch::run(&channel, &plan, &[]).await?;
        Ok((started, channel))
    }

    fn compile(&self, record: &ContainerRecord, spec: &Spec, parked: bool) -> Result<Plan> {
        let place = Place {
            parked,
            ..self.place(record, spec)?
        };
        plan::container(spec, &record.rootfs, &place)
    }

    fn place(&self, record: &ContainerRecord, spec: &Spec) -> Result<Place> {
        let has = self.slot(&record.sandbox, |slot| slot.record.namespaces)?;
        let ns = self.sandbox_dir(&record.sandbox).join("ns");
        let own = |has: bool, name: &str| has.then(|| ns.join(name));
        let cgroups = &self.inner.cgroups;
        Ok(Place {
            dir: self.container_dir(&record.id),
            net: own(has.network, "net"),
            ipc: own(has.ipc, "ipc"),
            uts: own(has.uts, "uts"),
            pid: own(has.shared_pid && namespaces::kept(&ns.join("pid")), "pid"),
            cgroup_procs: cgroups.procs_files(&record.cgroup),
            cgroup_dir: cgroups.clone_dir(&record.cgroup),
            cgroup_mounts: cgroups.views(&record.cgroup),
            oom_file: cgroups.oom_file(&record.cgroup),
            parked: false,
            log: record.log.clone(),
            stdin: record.stdin,
            stdin_once: record.stdin_once,
            filter: self.inner.filters.of(spec)?,
        })
    }

    /// Waits for a container's end at its shim, and tells.
    async fn watch(self, entry: Arc<Entry>, channel: Channel) {
        while let Ok(Some(answer)) = channel.receive().await {
            if answer.kind == message::EXITED {
                break;
            }
        }
        let engine = self.clone();
        let at = entry.clone();
        let exit = blocking(move || Ok(engine.exit_of(&at))).await;
        if let Ok(exit) = exit {
            self.tell_exit(&entry, exit);
        }
    }

    fn tell_exit(&self, entry: &Entry, exit: Exit) {
        entry.state.send_replace(State::Exited(exit));
        // Nobody may be listening.
        let _ = self.inner.events.send(Event::Exited(entry.record.id.clone(), exit));
    }

    /// How a container ended whose shim is gone. Without its shim it cannot go on: nobody reads its output.
    fn exit_of(&self, entry: &Entry) -> Exit {
        let dir = self.container_dir(&entry.record.id);
        let killed = self.inner.cgroups.kill(&entry.record.cgroup);
        if let Err(error) = killed {
            tracing::warn!(%error, container = %entry.record.id, "cannot end what is left of a container");
        }
        if let Some(exit) = state::read_exit(&dir) {
            return exit;
        }
        let started_at = StartedFile::read(&dir).map(|file| file.started.started_at);
        let finished_at = Timestamp::now();
        let exit = Exit {
            code: 137,
            signal: Some(9),
            oom_killed: false,
            started_at,
            finished_at,
            uncertain: true,
        };
        if let Err(error) = state::write_exit(&dir, &exit) {
            tracing::warn!(%error, container = %entry.record.id, "cannot note an exit");
        }
        exit
    }

    /// A container of before this engine was opened.
    pub(crate) async fn found_container(&self, record: ContainerRecord) -> Result<()> {
        let dir = self.container_dir(&record.id);
        let entry = Arc::new(Entry {
            record,
            state: watch::Sender::new(State::Created),
            ready: Mutex::default(),
        });
        let id = entry.record.id.clone();
        self.inner.containers.lock().insert(id, entry.clone());
        if let Some(exit) = state::read_exit(&dir) {
            entry.state.send_replace(State::Exited(exit));
            return Ok(());
        }
        let shim = Channel::connect(&dir);
        match (StartedFile::read(&dir), shim) {
            (Some(file), Ok(channel)) if entry.record.boot == self.inner.boot => {
                entry.state.send_replace(State::Running(file.started));
                tokio::spawn(self.clone().watch(entry, channel));
            }
            (Some(_), _) => {
                let (engine, at) = (self.clone(), entry.clone());
                let exit = blocking(move || Ok(engine.exit_of(&at))).await?;
                entry.state.send_replace(State::Exited(exit));
            }
            // It was being started when the engine died: nobody was told, so it was not.
            (None, shim) => {
                let (engine, at) = (self.clone(), entry.clone());
                blocking(move || engine.inner.cgroups.kill(&at.record.cgroup)).await?;
                if let Ok(shim) = shim {
                    let _ = tokio::time::timeout(Duration::from_secs(2), async {
                        while let Ok(Some(_)) = shim.receive().await {}
                    })
                    .await;
                }
                for file in ["started", "exit"] {
                    let _ = fs::remove_file(dir.join(file));
                }
            }
        }
        Ok(())
    }

    /// Sends a signal to the container's first process. Nothing happens if it has ended.
    pub async fn signal(&self, id: &ContainerId, signal: i32) -> Result<()> {
        match &*self.entry(id)?.state.borrow() {
            State::Created => {
                return Err(Error::WrongState {
                    id: id.to_string(),
                    state: "not started",
                    action: "get a signal",
                });
            }
            State::Running(_) => {}
            State::Exited(_) => return Ok(()),
        }
        match self.ask(id, message::SIGNAL, signal as u32, 0).await {
            // It ended meanwhile.
            Err(Error::Step { errno: libc::ESRCH, .. } | Error::ShimLost(_) | Error::Io { .. }) => Ok(()),
            other => other,
        }
    }

    /// Asks a running container's shim for something.
    async fn ask(&self, id: &ContainerId, kind: u32, a: u32, b: u32) -> Result<()> {
        let channel = Channel::connect(&self.container_dir(id))?;
        match channel.ask(kind, a, b, &[]).await? {
            Some(answer) if answer.kind == message::OK => Ok(()),
            Some(answer) if answer.kind == message::FAILED => Err(Error::Step {
                step: "ask the shim".into(),
                errno: answer.a,
                exec: false,
            }),
            _ => Err(Error::ShimLost(id.to_string())),
        }
    }

    /// Waits until a container has ended.
    pub async fn wait(&self, id: &ContainerId) -> Result<Exit> {
        let mut state = self.entry(id)?.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, State::Exited(_))).await;
        match ended.as_deref() {
            Ok(State::Exited(exit)) => Ok(*exit),
            _ => Err(Error::NoContainer(id.clone())),
        }
    }

    /// How far a container is.
    pub fn state(&self, id: &ContainerId) -> Result<State> {
        Ok(self.entry(id)?.state.borrow().clone())
    }

    /// All containers, also those of before a restart.
    pub fn containers(&self) -> Vec<Container> {
        let containers = self.inner.containers.lock();
        let known = containers.values().filter(|entry| !is_pause(&entry.record));
        known
            .map(|entry| Container {
                id: entry.record.id.clone(),
                sandbox: entry.record.sandbox.clone(),
                created_at: entry.record.created_at,
                labels: entry.record.labels.clone(),
                state: entry.state.borrow().clone(),
            })
            .collect()
    }

    /// Changes the limits of a container.
    pub async fn update(&self, id: &ContainerId, limits: &Limits) -> Result<()> {
        self.inner.cgroups.limit(&self.entry(id)?.record.cgroup, limits)
    }

    /// What a container uses.
    pub async fn stats(&self, id: &ContainerId) -> Result<Stats> {
        self.inner.cgroups.stats(&self.entry(id)?.record.cgroup)
    }

    /// Joins a running container's streams. Its input is taken only when it is wanted: it can be one that closes after
    /// its first writer.
    pub async fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Attached> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let pair = || {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            rustix::io::ioctl_fionbio(&ours, true)?;
            rustix::io::Result::Ok((ours, theirs))
        };
        let lost = || Error::ShimLost(id.to_string());
        let channel = Channel::connect(&self.container_dir(id))?;
        let (stdout, out) = pair().context(|| "make a socket".into())?;
        let (stderr, err) = pair().context(|| "make a socket".into())?;
        let joined = channel.ask(message::ATTACH, 0, 0, &[out.as_fd(), err.as_fd()]).await?;
        if joined.ok_or_else(lost)?.kind != message::OK {
            return Err(Error::Unsupported("more clients attached to a container".into()));
        }
        let stdin = match stdin {
            true => channel
                .ask(message::STDIN, 0, 0, &[])
                .await?
                .ok_or_else(lost)?
                .fds
                .pop(),
            false => None,
        };
        let spec: Spec = state::read(&self.container_dir(id).join("config.json"))?;
        let terminal = spec
            .process()
            .as_ref()
            .and_then(|process| process.terminal())
            .unwrap_or(false);
        Ok(Attached {
            stdin,
            stdout,
            stderr: (!terminal).then_some(stderr),
        })
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, id: &ContainerId, rows: u16, cols: u16) -> Result<()> {
        self.ask(id, message::RESIZE, rows.into(), cols.into()).await
    }

    /// Makes the shim open its log file anew, after somebody moved it away.
    pub async fn reopen_log(&self, id: &ContainerId) -> Result<()> {
        self.ask(id, message::REOPEN, 0, 0).await
    }

    /// Ends a container (SIGKILL to all it has) and removes every trace but its log and its overlay's upper
    /// directory. Can be repeated; goes on after errors.
    pub async fn delete(&self, id: &ContainerId) -> Result<()> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        drop(entry.ready.lock().parked.take());
        let (engine, at) = (self.clone(), entry.clone());
        let mut errors = Errors::default();
        errors.note(blocking(move || engine.inner.cgroups.kill(&at.record.cgroup)).await);
        if matches!(*entry.state.borrow(), State::Running(_)) {
            // Its shim ends by itself once its last words are written.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.wait(id)).await;
        }
        let (engine, at) = (self.clone(), entry.clone());
        errors.note(blocking(move || engine.unmake(&at.record)).await);
        let result = errors.finish();
        if result.is_ok() {
            self.inner.containers.lock().remove(id);
        }
        result
    }

    fn unmake(&self, record: &ContainerRecord) -> Result<()> {
        let mut errors = Errors::default();
        errors.note(self.inner.cgroups.remove(&record.cgroup));
        if let RootFs::Overlay { work, .. } = &record.rootfs {
            errors.note(remove_all(work));
        }
        errors.finish()?;
        remove_all(&self.container_dir(&record.id))
    }

    /// Starts the process that holds a sandbox's shared process namespace, and keeps that namespace by a mount.
    pub(crate) async fn start_pause(&self, sandbox: &SandboxId) -> Result<()> {
        let id = ContainerId::new(format!("{sandbox}{PAUSE}"))?;
        let spec = crate::bundle::pause();
        let rootfs = RootFs::Dir(self.inner.pause_root.clone());
        let (sandbox, labels) = (sandbox.clone(), Vec::new());
        let ns = self.sandbox_dir(&sandbox).join("ns");
        let pause = ContainerSpec {
            id: id.clone(),
            sandbox,
            spec,
            rootfs,
            log: None,
            stdin: false,
            stdin_once: false,
            labels,
        };
        self.create(pause).await?;
        let started = self.start(&id).await?;
        let file = ns.join("pid");
        fs::write(&file, b"").context(|| format!("make {}", file.display()))?;
        namespaces::keep(Path::new(&format!("/proc/{}/ns/pid", started.pid)), &file)
    }
}

const PAUSE: &str = ".pause";

fn is_pause(record: &ContainerRecord) -> bool {
    record.id.as_str().strip_suffix(PAUSE) == Some(record.sandbox.as_str())
}

/// Whether a bundle wants just what a parked process has: a process namespace of its own, and all that the sandbox has.
fn suits_parked(spec: &Spec, has: Namespaces) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or_default();
    let plain = |kind| {
        namespaces
            .iter()
            .any(|namespace| namespace.typ() == kind && namespace.path().is_none())
    };
    let wants = [
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
    ]
    .map(plain);
    let given = [has.network, has.ipc, has.uts];
    plain(LinuxNamespaceType::Pid) && !has.shared_pid && given.iter().zip(wants).all(|(given, wants)| !given || wants)
}

fn remove_all(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
