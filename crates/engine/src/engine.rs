//! The engine itself: what it knows, and how it finds that again when it is opened. The operations on sandboxes and
//! containers are in their own files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::container::Entry;
use crate::error::Context;
use crate::sandbox::Slot;
use crate::seccomp::Filters;
use crate::state::{self, ContainerRecord, SandboxRecord};
use crate::{Config, ContainerId, Error, Event, Result, SandboxId, launch};

/// A container engine on one state directory. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) cgroups: Cgroups,
    pub(crate) boot: String,
    pub(crate) shim: PathBuf,
    pub(crate) pause_root: PathBuf,
    pub(crate) filters: Filters,
    pub(crate) sandboxes: Mutex<HashMap<SandboxId, Slot>>,
    pub(crate) containers: Mutex<HashMap<ContainerId, Arc<Entry>>>,
    pub(crate) events: broadcast::Sender<Event>,
}

impl Engine {
    /// Opens the engine: finds what runs already, reclaims what was left half made. A state directory must be open once
    /// only. Must be called inside of a tokio runtime.
    pub async fn open(config: Config) -> Result<Self> {
        let open = move || Self::on_disk(config);
        let engine = blocking(open).await?;
        engine.find().await?;
        Ok(engine)
    }

    fn on_disk(config: Config) -> Result<Self> {
        let state_dir = &config.state_dir;
        for dir in ["sandboxes", "containers", "bin"] {
            let dir = state_dir.join(dir);
            fs::create_dir_all(&dir).context(|| format!("make {}", dir.display()))?;
        }
        let version = state_dir.join("version");
        match fs::read_to_string(&version) {
            Ok(text) if text.trim() == "1" => {}
            Ok(text) => {
                return Err(Error::BadState {
                    path: version,
                    reason: format!("version {:?} is not known", text.trim()),
                });
            }
            Err(_) => state::replace_durably(&version, b"1\n")?,
        }
        let cgroups = Cgroups::detect()?;
        cgroups.make(&config.cgroup_parent)?;
        let bin = state_dir.join("bin");
        let pause_root = bin.join("pause-root");
        let pause = launch::install(&pause_root, "pause", shim::PAUSE)?;
        let link = pause_root.join("pause");
        if !link.exists() {
            fs::hard_link(pause, &link).context(|| format!("make {}", link.display()))?;
        }
        let inner = Inner {
            shim: launch::install(&bin, "shim", shim::SHIM)?,
            pause_root,
            cgroups,
            boot: state::boot_id(),
            filters: Filters::default(),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events: broadcast::channel(1024).0,
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finds sandboxes and containers of before.
    async fn find(&self) -> Result<()> {
        for dir in subdirectories(&self.inner.config.state_dir.join("sandboxes")) {
            match state::read::<SandboxRecord>(&dir.join("sandbox.json")) {
                Ok(record) if record.version == state::VERSION => {
                    self.inner
                        .sandboxes
                        .lock()
                        .insert(record.id.clone(), Slot::found(record));
                }
                Ok(record) => return Err(unknown_version(&dir, record.version)),
                // The record is written first, so without it nothing else was made.
                Err(_) => drop(fs::remove_dir_all(&dir)),
            }
        }
        for dir in subdirectories(&self.inner.config.state_dir.join("containers")) {
            match state::read::<ContainerRecord>(&dir.join("container.json")) {
                Ok(record) if record.version == state::VERSION => self.found_container(record).await?,
                Ok(record) => return Err(unknown_version(&dir, record.version)),
                Err(_) => drop(fs::remove_dir_all(&dir)),
            }
        }
        self.reclaim_cgroups().await;
        Ok(())
    }

    /// Cgroups below ours that no sandbox owns are what a removal had no time for.
    async fn reclaim_cgroups(&self) {
        let engine = self.clone();
        let _ = blocking(move || {
            let known: Vec<_> = engine.inner.sandboxes.lock().keys().map(|id| id.to_string()).collect();
            for name in engine.inner.cgroups.children(&engine.inner.config.cgroup_parent) {
                if !known.contains(&name) {
                    let cgroup = format!("{}/{name}", engine.inner.config.cgroup_parent);
                    let removed = engine
                        .inner
                        .cgroups
                        .kill(&cgroup)
                        .and_then(|()| engine.inner.cgroups.remove(&cgroup));
                    if let Err(error) = removed {
                        tracing::warn!(%error, cgroup, "cannot reclaim a cgroup");
                    }
                }
            }
            Ok(())
        })
        .await;
    }

    /// Gives each free sandbox of before a parked process again, in the background. For whoever means to use them; one
    /// who opens the engine to remove everything doesn't.
    pub fn park_free(&self) {
        let inner = &self.inner;
        let free: Vec<_> = inner
            .sandboxes
            .lock()
            .values()
            .filter(|slot| slot.is_free(&inner.boot))
            .map(Slot::id)
            .collect();
        let engine = self.clone();
        tokio::spawn(async move {
            for id in free {
                if let Err(error) = engine.park(&id).await {
                    tracing::debug!(%error, sandbox = %id, "cannot park a process");
                }
            }
        });
    }

    /// Removes what the engine has besides its sandboxes, when those are gone: its cgroup. The state directory stays.
    pub async fn retire(&self) -> Result<()> {
        let engine = self.clone();
        blocking(move || engine.inner.cgroups.remove(&engine.inner.config.cgroup_parent)).await
    }

    /// What happens to containers from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }
}

fn unknown_version(dir: &Path, version: u32) -> Error {
    Error::BadState {
        path: dir.into(),
        reason: format!("version {version} is not known"),
    }
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Does blocking work where it blocks nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error)).context(|| "finish the work".into()))
}
