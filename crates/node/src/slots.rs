//! Slots: sandboxes with a link and an address, made ahead of the pods that will take them.
//!
//! Who has which is on record with the engine, so that a restart finds it; the API is never asked.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::{Claim, Engine, Namespaces, Sandbox, SandboxId};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use network::{Network, SlotId};
use tokio::sync::{Mutex, mpsc};

use crate::bundle::resources;
use crate::pods::start::hostname;

/// How many are kept ready. One more is in the making.
const READY: usize = 3;

/// A place for a pod: namespaces, cgroup, and an address unless the pod uses the host's network.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) id: SandboxId,
    pub(crate) address: Option<IpAddr>,
}

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlotError {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error("no slots are made any more")]
    Closed,
}

pub(crate) struct Slots {
    maker: Arc<Maker>,
    ready: Mutex<mpsc::Receiver<Result<Slot, SlotError>>>,
}

/// Makes slots; shared with the task that keeps some ready.
struct Maker {
    engine: Arc<Engine>,
    network: Arc<Network>,
    next: AtomicU32,
}

impl Slots {
    /// Takes over the free slots of an earlier life, and keeps some ready from now on.
    pub(crate) async fn start(engine: Arc<Engine>, network: Arc<Network>) -> Self {
        let numbers = engine
            .sandboxes()
            .iter()
            .filter_map(|sandbox| number(&sandbox.id))
            .max();
        let attached = network.attachments().iter().map(|attachment| attachment.slot.0).max();
        let next = numbers.max(attached).map_or(0, |highest| highest.wrapping_add(1));
        let maker = Arc::new(Maker {
            engine,
            network,
            next: AtomicU32::new(next),
        });
        let mut free = maker.reclaim().await;
        // Pods that were on their way when the last life ended leave more than will be wanted soon.
        for surplus in free.split_off(free.len().min(READY + 1)) {
            maker.discard(&surplus.id).await;
        }
        maker.engine.park_free();
        let (sender, ready) = mpsc::channel(READY);
        let filler = maker.clone();
        tokio::spawn(async move {
            for slot in free {
                if sender.send(Ok(slot)).await.is_err() {
                    return;
                }
            }
            loop {
                let slot = filler.make(Namespaces::default()).await;
                let failed = slot.is_err();
                if sender.send(slot).await.is_err() {
                    return;
                }
                if failed {
                    // The next pod is told the error; the one after it gets another try.
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
            }
        });
        Self {
            maker,
            ready: Mutex::new(ready),
        }
    }

    /// Gives a pod a slot.
    pub(crate) async fn claim(&self, pod: &Pod, spec: &PodSpec) -> Result<Slot, SlotError> {
        let namespaces = namespaces(spec);
        let slot = if namespaces == Namespaces::default() {
            self.ready.lock().await.recv().await.ok_or(SlotError::Closed)??
        } else {
            self.maker.make(namespaces).await?
        };
        meta::failpoint::hit("node.slot.taken");
        let security = spec.security_context.as_ref();
        let sysctls = security
            .and_then(|context| context.sysctls.as_ref())
            .into_iter()
            .flatten();
        let claim = Claim {
            owner: pod.metadata.uid.clone().unwrap_or_default(),
            hostname: namespaces.uts.then(|| hostname(pod, spec)),
            sysctls: sysctls
                .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
                .collect(),
            limits: resources::of_pod(pod),
        };
        match self.maker.engine.sandbox_claim(&slot.id, claim).await {
            Ok(_) => {
                meta::failpoint::hit("node.slot.claimed");
                Ok(slot)
            }
            Err(error) => {
                self.maker.discard(&slot.id).await;
                Err(error.into())
            }
        }
    }

    /// The slot that a pod has already.
    pub(crate) fn of(&self, uid: &str) -> Option<Slot> {
        let sandbox = self
            .maker
            .engine
            .sandboxes()
            .into_iter()
            .find(|s| s.owner.as_deref() == Some(uid))?;
        Some(self.maker.slot_of(&sandbox))
    }

    /// The pods that have slots.
    pub(crate) fn owners(&self) -> Vec<String> {
        self.maker
            .engine
            .sandboxes()
            .into_iter()
            .filter_map(|sandbox| sandbox.owner)
            .collect()
    }

    /// Removes a sandbox; its address stays taken until the slot is released.
    pub(crate) async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), SlotError> {
        Ok(self.maker.engine.sandbox_remove(id).await?)
    }

    /// Gives a slot's address back, after its sandbox is gone.
    pub(crate) async fn release(&self, slot: Slot) {
        self.maker.detach(&slot.id).await;
    }
}

impl Maker {
    async fn make(&self, namespaces: Namespaces) -> Result<Slot, SlotError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = SandboxId::new(format!("s{number}"))?;
        let sandbox = self.engine.sandbox_prepare(id.clone(), namespaces).await?;
        meta::failpoint::hit("node.slot.sandbox-made");
        let Some(netns) = sandbox.netns else {
            return Ok(Slot { id, address: None });
        };
        let network = self.network.clone();
        let attached = tokio::task::spawn_blocking(move || network.attach(&netns, SlotId(number))).await;
        meta::failpoint::hit("node.slot.attached");
        match attached.unwrap_or(Err(network::Error::NoSuchSlot(SlotId(number)))) {
            Ok(attachment) => Ok(Slot {
                id,
                address: Some(attachment.address()),
            }),
            Err(error) => {
                if let Err(error) = self.engine.sandbox_remove(&id).await {
                    tracing::warn!(slot = %id, %error, "removing a slot without a link");
                }
                Err(error.into())
            }
        }
    }

    /// Free slots that are whole; halves of slots are removed.
    async fn reclaim(&self) -> Vec<Slot> {
        let mut free = Vec::new();
        let mut known = Vec::new();
        for sandbox in self.engine.sandboxes() {
            known.extend(number(&sandbox.id));
            if sandbox.owner.is_some() {
                continue;
            }
            let slot = self.slot_of(&sandbox);
            if slot.address.is_some() && sandbox.namespaces == Namespaces::default() {
                free.push(slot);
            } else {
                self.discard(&sandbox.id).await;
            }
        }
        for attachment in self.network.attachments() {
            if !known.contains(&attachment.slot.0)
                && let Ok(id) = SandboxId::new(format!("s{}", attachment.slot.0))
            {
                self.detach(&id).await;
            }
        }
        free
    }

    async fn discard(&self, id: &SandboxId) {
        if let Err(error) = self.engine.sandbox_remove(id).await {
            tracing::warn!(slot = %id, %error, "removing a slot");
        }
        self.detach(id).await;
    }

    fn slot_of(&self, sandbox: &Sandbox) -> Slot {
        let slot = number(&sandbox.id).map(SlotId);
        let attachment = self
            .network
            .attachments()
            .into_iter()
            .find(|attachment| Some(attachment.slot) == slot);
        Slot {
            id: sandbox.id.clone(),
            address: attachment.map(|attachment| attachment.address()),
        }
    }

    async fn detach(&self, id: &SandboxId) {
        let Some(number) = number(id) else { return };
        let network = self.network.clone();
        let detached = tokio::task::spawn_blocking(move || network.detach(SlotId(number))).await;
        match detached {
            Ok(Err(network::Error::NoSuchSlot(_)) | Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(slot = %id, %error, "giving back an address"),
            Err(error) => tracing::warn!(slot = %id, %error, "giving back an address"),
        }
    }
}

fn number(id: &SandboxId) -> Option<u32> {
    id.as_str().strip_prefix('s')?.parse().ok()
}

fn namespaces(spec: &PodSpec) -> Namespaces {
    let host_network = spec.host_network == Some(true);
    Namespaces {
        network: !host_network,
        uts: !host_network,
        ipc: spec.host_ipc != Some(true),
        shared_pid: spec.share_process_namespace == Some(true),
    }
}
