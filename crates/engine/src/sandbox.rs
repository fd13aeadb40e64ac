//! Sandboxes: namespaces, cgroups and a parked process, made ahead of time and then claimed.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::channel::Channel;
use crate::engine::blocking;
use crate::error::{Context, Errors};
use crate::plan::{self, Place};
use crate::state::{self, SandboxRecord};
use crate::{
    Claim, ContainerId, Engine, Error, Limits, Namespaces, Result, Sandbox, SandboxId, Stats, launch, namespaces,
};

/// The cgroup that is made ahead for a sandbox's first container.
const FIRST: &str = "first";

/// A sandbox, and the process parked in it.
pub(crate) struct Slot {
    pub(crate) record: SandboxRecord,
    parked: Option<Parked>,
}

/// A process in the sandbox's namespaces and in a cgroup of its own, waiting for a plan.
pub(crate) struct Parked {
    pub(crate) shim: Channel,
    pub(crate) cgroup: String,
}

impl Slot {
    pub(crate) fn found(record: SandboxRecord) -> Self {
        Self { record, parked: None }
    }

    pub(crate) fn id(&self) -> SandboxId {
        self.record.id.clone()
    }

    pub(crate) fn is_free(&self, boot: &str) -> bool {
        self.record.claim.is_none() && self.record.boot == boot
    }
}

impl Engine {
    pub(crate) fn sandbox_dir(&self, id: &SandboxId) -> PathBuf {
        self.inner.config.state_dir.join("sandboxes").join(id.as_str())
    }

    pub(crate) fn sandbox_cgroup(&self, id: &SandboxId) -> String {
        format!("{}/{id}", self.inner.config.cgroup_parent)
    }

    /// Makes a sandbox ahead of time: namespaces, cgroups, a parked process. Belongs into a pool: it takes some 20 ms,
    /// so that the first container in it takes about one.
    pub async fn sandbox_prepare(&self, id: SandboxId, namespaces: Namespaces) -> Result<Sandbox> {
        let boot = self.inner.boot.clone();
        let record = SandboxRecord {
            version: state::VERSION,
            id: id.clone(),
            boot,
            namespaces,
            claim: None,
        };
        {
            let mut sandboxes = self.inner.sandboxes.lock();
            if sandboxes.contains_key(&id) {
                return Err(Error::Exists(format!("sandbox {id}")));
            }
            sandboxes.insert(id.clone(), Slot::found(record.clone()));
        }
        match self.make_sandbox(record).await {
            Ok(()) => self.sandbox(&id),
            Err(error) => {
                if let Err(undo) = self.sandbox_remove(&id).await {
                    tracing::warn!(%undo, sandbox = %id, "cannot undo a sandbox");
                }
                Err(error)
            }
        }
    }

    async fn make_sandbox(&self, record: SandboxRecord) -> Result<()> {
        let (id, engine) = (record.id.clone(), self.clone());
        let shared_pid = record.namespaces.shared_pid;
        blocking(move || {
            let dir = engine.sandbox_dir(&record.id);
            fs::create_dir_all(&dir).context(|| format!("make {}", dir.display()))?;
            // The record comes first: whatever is made after it is found by it.
            state::write(&dir.join("sandbox.json"), &record)?;
            engine
                .inner
                .cgroups
                .make(&format!("{}/{FIRST}", engine.sandbox_cgroup(&record.id)))?;
            namespaces::make(&dir.join("ns"), record.namespaces)
        })
        .await?;
        if shared_pid {
            self.start_pause(&id).await
        } else {
            self.park(&id).await
        }
    }

    /// Parks a process in a sandbox, for its next container.
    pub(crate) async fn park(&self, id: &SandboxId) -> Result<()> {
        let cgroup = format!("{}/{FIRST}", self.sandbox_cgroup(id));
        let mut place = Place {
            cgroup_procs: self.inner.cgroups.procs_files(&cgroup),
            ..Place::default()
        };
        place.cgroup_dir = self.inner.cgroups.clone_dir(&cgroup);
        let namespaces = self.slot(id, |slot| slot.record.namespaces)?;
        let dir = self.sandbox_dir(id).join("ns");
        let own = |has: bool, name: &str| has.then(|| dir.join(name));
        place.net = own(namespaces.network, "net");
        place.ipc = own(namespaces.ipc, "ipc");
        place.uts = own(namespaces.uts, "uts");
        let plan = plan::park(&place)?;
        let shim = launch::shim(self.inner.shim.clone(), id.to_string()).await?;
        launch::park(&shim, &plan).await?;
        self.slot_mut(id, |slot| slot.parked = Some(Parked { shim, cgroup }))
    }

    /// Takes the parked process, if there is one.
    pub(crate) fn take_parked(&self, id: &SandboxId) -> Option<Parked> {
        self.inner.sandboxes.lock().get_mut(id)?.parked.take()
    }

    /// Gives a prepared sandbox to an owner: host name, sysctls, limits.
    pub async fn sandbox_claim(&self, id: &SandboxId, claim: Claim) -> Result<Sandbox> {
        let mut record = self.slot(id, |slot| slot.record.clone())?;
        if record.claim.is_some() {
            return Err(Error::WrongState {
                id: id.to_string(),
                state: "claimed already",
                action: "be claimed",
            });
        }
        record.claim = Some(claim.clone());
        self.slot_mut(id, |slot| slot.record.claim = record.claim.clone())?;
        let (engine, sandbox) = (self.clone(), id.clone());
        let claimed = blocking(move || {
            let dir = engine.sandbox_dir(&sandbox);
            state::write(&dir.join("sandbox.json"), &record)?;
            engine
                .inner
                .cgroups
                .limit(&engine.sandbox_cgroup(&sandbox), &claim.limits)?;
            if claim.hostname.is_none() && claim.sysctls.is_empty() {
                return Ok(());
            }
            namespaces::inside(&dir.join("ns"), record.namespaces, || {
                if let Some(name) = claim.hostname.as_ref().filter(|_| record.namespaces.uts) {
                    rustix::system::sethostname(name.as_bytes()).context(|| format!("set host name {name}"))?;
                }
                claim.sysctls.iter().try_for_each(|(key, value)| {
                    let path = format!("/proc/sys/{}", key.replace('.', "/"));
                    fs::write(&path, value).context(|| format!("set sysctl {key}"))
                })
            })
        });
        claimed.await?;
        self.sandbox(id)
    }

    /// Changes the limits of a sandbox.
    pub async fn sandbox_update(&self, id: &SandboxId, limits: &Limits) -> Result<()> {
        self.slot(id, |_| ())?;
        self.inner.cgroups.limit(&self.sandbox_cgroup(id), limits)
    }

    /// What all containers of a sandbox use together.
    pub async fn sandbox_stats(&self, id: &SandboxId) -> Result<Stats> {
        self.slot(id, |_| ())?;
        self.inner.cgroups.stats(&self.sandbox_cgroup(id))
    }

    /// Removes a sandbox and all its containers. Can be repeated; goes on after errors.
    pub async fn sandbox_remove(&self, id: &SandboxId) -> Result<()> {
        drop(self.take_parked(id));
        let mut errors = Errors::default();
        let inside: Vec<ContainerId> = {
            let containers = self.inner.containers.lock();
            containers
                .values()
                .filter(|entry| entry.record.sandbox == *id)
                .map(|entry| entry.record.id.clone())
                .collect()
        };
        for container in inside {
            errors.note(self.delete(&container).await);
        }
        let (engine, sandbox) = (self.clone(), id.clone());
        errors.note(blocking(move || engine.unmake_sandbox(&sandbox)).await);
        let result = errors.finish();
        if result.is_ok() {
            self.inner.sandboxes.lock().remove(id);
        }
        result
    }

    fn unmake_sandbox(&self, id: &SandboxId) -> Result<()> {
        let mut errors = Errors::default();
        let (cgroup, dir) = (self.sandbox_cgroup(id), self.sandbox_dir(id));
        errors.note(self.inner.cgroups.kill(&cgroup));
        errors.note(self.inner.cgroups.remove(&cgroup));
        errors.note(namespaces::release(&dir.join("ns")));
        errors.finish()?;
        // Only now, since the record is what a later attempt would go by.
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", dir.display()))
            }
            _ => Ok(()),
        }
    }

    /// A sandbox as it stands.
    pub fn sandbox(&self, id: &SandboxId) -> Result<Sandbox> {
        self.slot(id, |slot| self.describe(slot))
    }

    /// All sandboxes, also those of before a restart.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        self.inner
            .sandboxes
            .lock()
            .values()
            .map(|slot| self.describe(slot))
            .collect()
    }

    fn describe(&self, slot: &Slot) -> Sandbox {
        let record = &slot.record;
        let dir = self.sandbox_dir(&record.id).join("ns");
        let netns = record.namespaces.network.then(|| dir.join("net"));
        Sandbox {
            id: record.id.clone(),
            namespaces: record.namespaces,
            alive: record.boot == self.inner.boot && netns.as_deref().is_none_or(namespaces::kept),
            netns,
            cgroup: self.sandbox_cgroup(&record.id),
            owner: record.claim.as_ref().map(|claim| claim.owner.clone()),
        }
    }

    pub(crate) fn slot<T>(&self, id: &SandboxId, look: impl FnOnce(&Slot) -> T) -> Result<T> {
        self.inner
            .sandboxes
            .lock()
            .get(id)
            .map(look)
            .ok_or_else(|| Error::NoSandbox(id.clone()))
    }

    fn slot_mut<T>(&self, id: &SandboxId, change: impl FnOnce(&mut Slot) -> T) -> Result<T> {
        self.inner
            .sandboxes
            .lock()
            .get_mut(id)
            .map(change)
            .ok_or_else(|| Error::NoSandbox(id.clone()))
    }
}
