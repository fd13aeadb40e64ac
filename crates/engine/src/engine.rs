//! The engine's public face: each operation of a container's life. What an operation needs of the kernel is elsewhere.

use tokio::sync::broadcast;

use crate::{
    Attached, Claim, Config, Container, ContainerId, ContainerSpec, Error, Event, Exec, ExecSpec, Exit, Limits,
    Namespaces, Result, Sandbox, SandboxId, Started, State, Stats,
};

/// A container engine on one state directory.
pub struct Engine {
    events: broadcast::Sender<Event>,
}

fn later<T>() -> Result<T> {
    Err(Error::Unsupported("this operation yet".into()))
}

impl Engine {
    /// Opens the engine: finds what runs already, reclaims what was left half made.
    pub async fn open(_config: Config) -> Result<Self> {
        Ok(Self {
            events: broadcast::channel(1024).0,
        })
    }

    /// Makes a sandbox ahead of time: namespaces, cgroups, a parked process. About 20 ms; belongs into a pool.
    pub async fn sandbox_prepare(&self, _id: SandboxId, _namespaces: Namespaces) -> Result<Sandbox> {
        later()
    }

    /// Gives a prepared sandbox to an owner: host name, sysctls, limits.
    pub async fn sandbox_claim(&self, _id: &SandboxId, _claim: Claim) -> Result<Sandbox> {
        later()
    }

    /// Changes the limits of a sandbox.
    pub async fn sandbox_update(&self, _id: &SandboxId, _limits: &Limits) -> Result<()> {
        later()
    }

    /// What all containers of a sandbox use together.
    pub async fn sandbox_stats(&self, _id: &SandboxId) -> Result<Stats> {
        later()
    }

    /// Removes a sandbox and all its containers. Can be repeated; goes on after errors.
    pub async fn sandbox_remove(&self, _id: &SandboxId) -> Result<()> {
        later()
    }

    /// All sandboxes, also those of before a restart.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        Vec::new()
    }

    /// Notes a container, durably; nothing runs yet.
    pub async fn create(&self, _spec: ContainerSpec) -> Result<()> {
        later()
    }

    /// Starts a created container; returns when its program runs.
    pub async fn start(&self, _id: &ContainerId) -> Result<Started> {
        later()
    }

    /// Runs another process in a running container.
    pub async fn exec(&self, _id: &ContainerId, _spec: ExecSpec) -> Result<Exec> {
        later()
    }

    /// Sends a signal to the container's first process. Nothing happens if it has ended.
    pub async fn signal(&self, _id: &ContainerId, _signal: i32) -> Result<()> {
        later()
    }

    /// Waits until a container has ended.
    pub async fn wait(&self, _id: &ContainerId) -> Result<Exit> {
        later()
    }

    /// What happens to containers from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// How far a container is.
    pub fn state(&self, id: &ContainerId) -> Result<State> {
        Err(Error::NoContainer(id.clone()))
    }

    /// All containers, also those of before a restart.
    pub fn containers(&self) -> Vec<Container> {
        Vec::new()
    }

    /// Changes the limits of a container.
    pub async fn update(&self, _id: &ContainerId, _limits: &Limits) -> Result<()> {
        later()
    }

    /// What a container uses.
    pub async fn stats(&self, _id: &ContainerId) -> Result<Stats> {
        later()
    }

    /// Joins a running container's streams.
    pub async fn attach(&self, _id: &ContainerId) -> Result<Attached> {
        later()
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, _id: &ContainerId, _rows: u16, _cols: u16) -> Result<()> {
        later()
    }

    /// Makes the shim open its log file anew, after somebody moved it away.
    pub async fn reopen_log(&self, _id: &ContainerId) -> Result<()> {
        later()
    }

    /// Ends a container (SIGKILL to all it has) and removes every trace but its log and its overlay's upper
    /// directory. Can be repeated; goes on after errors.
    pub async fn delete(&self, _id: &ContainerId) -> Result<()> {
        later()
    }
}
