//! Pulling: from a name to an image that is ready to run.
//!
//! A layer is unpacked while it is downloaded: one task receives, a thread hashes, decompresses, hashes again and writes.
//! Nothing gets its name before both digests are right. Each layer is downloaded once at a time, whoever wants it.

mod feed;
mod layer;
mod progress;
mod resolve;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use progress::{LayerState, Quiet, TransferProgress};

use crate::blob::verify;
use crate::claim::Claim;
use crate::error::{Error, Result, invalid, network};
use crate::reference::Reference;
use crate::remote::{Credential, Endpoint, Hosts, Keyring, Purpose, Registry, Session};
use crate::spec::{Descriptor, ImageConfig, Manifest, Platform, host_platform};
use crate::store::{Access, NameRecord, Origin, Store};
use resolve::Resolved;

/// Layers that are downloaded at a time, over all pulls.
const PARALLEL: usize = 4;

/// How long the cluster's own registry may take to say that it doesn't know another registry's image.
const ASIDE: Duration = Duration::from_secs(3);

/// Pulls images into a store, and pushes them. Clones share connections and downloads.
#[derive(Clone)]
pub struct Transfer {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Store,
    hosts: parking_lot::RwLock<Hosts>,
    downloads: Semaphore,
    /// One lock for each layer that somebody wants, held while it is brought.
    layers: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Sessions keep connections and tokens.
    sessions: Mutex<HashMap<SessionKey, (Arc<Session>, Instant)>>,
}

type SessionKey = (String, Option<String>, Option<Credential>);

/// How a pull or a push is to be done.
#[derive(Clone, Default)]
pub struct TransferOptions {
    /// The machine that a pull is for, if not this one.
    pub platform: Option<Platform>,
    /// The registry may do without TLS.
    pub insecure: bool,
    /// Who asks. With credentials for the image each of them is tried; without, it is asked for anonymously.
    pub keyring: Keyring,
    /// Who is told how far it is.
    pub progress: Option<Arc<dyn TransferProgress>>,
}

/// What a pull has brought.
#[derive(Debug)]
pub struct Pulled {
    /// The name, normalised.
    pub name: Reference,
    /// What the registry calls the image: the digest of its index or manifest.
    pub digest: String,
    /// Bytes of the configuration and the layers as they are stored.
    pub size: u64,
    /// Bytes that had to be fetched.
    pub fetched: u64,
    /// How long it took.
    pub took: Duration,
    claim: Option<Claim>,
}

impl Pulled {
    /// Brings the image to the disk. It can be used before.
    pub fn settle(mut self) -> Result<()> {
        self.claim.take().map_or(Ok(()), Claim::settle)
    }
}

impl Transfer {
    /// For a store, with a configuration of hosts.
    pub fn new(store: Store, hosts: Hosts) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                hosts: parking_lot::RwLock::new(hosts),
                downloads: Semaphore::new(PARALLEL),
                layers: Mutex::default(),
                sessions: Mutex::default(),
            }),
        }
    }

    /// Takes another configuration of hosts, for what begins from now on.
    pub fn set_hosts(&self, hosts: Hosts) {
        *self.shared.hosts.write() = hosts;
        self.shared.sessions.lock().clear();
    }

    pub(crate) fn endpoints(&self, name: &Reference, purpose: Purpose, insecure: bool) -> Result<Vec<Endpoint>> {
        self.shared.hosts.read().endpoints(name.registry(), purpose, insecure)
    }

    /// Pulls an image under its name. What is here already is not fetched again, but the registry is asked each time.
    pub async fn pull(&self, name: &Reference, options: &TransferOptions) -> Result<Pulled> {
        let started = Instant::now();
        let progress = options.progress.clone().unwrap_or_else(|| Arc::new(Quiet));
        let (registry, resolved, asker) = self.resolve(name, options).await?;
        progress.resolved(name, &resolved.target);
        let (claim, fetched) = Box::pin(self.fetch(&registry, &resolved, &progress)).await?;
        let mut record = NameRecord {
            name: name.to_string(),
            access: Access::Everyone,
            manifest: resolved.digest.clone(),
            index: (resolved.target != resolved.digest).then(|| resolved.target.clone()),
            origin: Origin::Pulled,
        };
        let store = self.shared.store.clone();
        let reference = name.clone();
        blocking(move || {
            record.access = store.access_after(&reference, &record, asker.as_ref())?;
            store.write_record(&reference, &record)
        })
        .await?;
        Ok(Pulled {
            name: name.clone(),
            digest: resolved.target,
            size: resolved.manifest.size(),
            fetched,
            took: started.elapsed(),
            claim: Some(claim),
        })
    }

    /// Asks each host, with each credential, until one has it. What the last one says is told, unless an earlier one
    /// said more than that it has no such thing.
    async fn resolve(
        &self,
        name: &Reference,
        options: &TransferOptions,
    ) -> Result<(Registry, Resolved, Option<Credential>)> {
        let platform = options.platform.clone().unwrap_or_else(host_platform);
        let keyring = options.keyring.clone();
        let image = name.clone();
        let credentials = blocking(move || keyring.for_image(&image)).await?;
        let mut failure: Option<Error> = None;
        for endpoint in self.endpoints(name, Purpose::Pull, options.insecure)? {
            // Credentials are for the registry; neither the cluster's own nor a mirror is given them.
            let mut askers: Vec<Option<Credential>> = vec![None];
            if endpoint.namespace.is_none() && !endpoint.cluster && !credentials.is_empty() {
                askers = credentials.iter().cloned().map(Some).collect();
            }
            for asker in askers {
                let mirror = endpoint.namespace.is_some();
                let found = async {
                    let session = self.session(&endpoint, asker.clone()).await?;
                    let registry = Registry::new(session, name.repository());
                    let resolved = resolve::resolve(&self.shared.store, &registry, name, &platform).await?;
                    Ok::<_, Error>((registry, resolved))
                };
                // The cluster is asked on the side; a pull from elsewhere doesn't wait for a server that is away.
                let patience = if mirror && endpoint.cluster {
                    ASIDE
                } else {
                    Duration::from_secs(600)
                };
                let found = match tokio::time::timeout(patience, Box::pin(found)).await {
                    Ok(found) => found,
                    Err(_) => Err(Error::Network {
                        host: endpoint.host.clone(),
                        reason: "no answer in time".to_string(),
                    }),
                };
                match found {
                    Ok((registry, resolved)) => return Ok((registry, resolved, asker)),
                    Err(error @ Error::Platform { .. }) => return Err(error),
                    Err(error) => {
                        tracing::debug!(host = endpoint.host, %error, "an image was not found");
                        if !mirror || failure.is_none() {
                            failure = Some(error);
                        }
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::NotFound(name.to_string())))
    }

    pub(crate) async fn session(&self, endpoint: &Endpoint, asker: Option<Credential>) -> Result<Arc<Session>> {
        /// As long as nothing changes about a host's files in practice.
        const KEEP: Duration = Duration::from_secs(60);
        let key = (endpoint.base.to_string(), endpoint.namespace.clone(), asker.clone());
        {
            let mut sessions = self.shared.sessions.lock();
            sessions.retain(|_, (_, since)| since.elapsed() < KEEP);
            if let Some((session, _)) = sessions.get(&key)
                && session.endpoint.insecure == endpoint.insecure
            {
                return Ok(session.clone());
            }
        }
        let session = Arc::new(Session::open(endpoint.clone(), asker).await?);
        self.shared
            .sessions
            .lock()
            .insert(key, (session.clone(), Instant::now()));
        Ok(session)
    }

    /// Brings configuration and layers, and returns the claim on them and how many bytes came.
    async fn fetch(
        &self,
        registry: &Registry,
        resolved: &Resolved,
        progress: &Arc<dyn TransferProgress>,
    ) -> Result<(Claim, u64)> {
        let manifest = &resolved.manifest;
        let config_bytes = self.config(registry, &manifest.config).await?;
        let config: ImageConfig =
            serde_json::from_slice(&config_bytes).map_err(|error| invalid(&manifest.config.digest, error))?;
        let layers = pairs(manifest, &config)?;
        let mut documents = resolved.documents();
        documents.push((manifest.config.digest.clone(), config_bytes));
        let mut blobs: Vec<String> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        blobs.extend(documents.iter().map(|(digest, _)| digest.clone()));
        let store = self.shared.store.clone();
        let claim = blocking(move || {
            let claim = store.claim(blobs, config.rootfs.diff_ids)?;
            for (digest, bytes) in documents {
                store.blobs.put_as(&digest, &bytes)?;
            }
            Ok(claim)
        })
        .await?;
        for (layer, _) in &layers {
            progress.layer(&layer.digest, LayerState::Waiting { total: layer.size });
        }
        let fetched = stream::iter(layers.into_iter().map(|(layer, diff_id)| {
            let (puller, registry, progress) = (self.clone(), registry.clone(), progress.clone());
            async move { puller.layer(&registry, &layer, &diff_id, &progress).await }
        }))
        .buffer_unordered(PARALLEL)
        .try_fold(0, |sum, fetched| async move { Ok(sum + fetched) })
        .await?;
        Ok((claim, fetched))
    }

    /// A configuration's bytes: they are few, and fetched whole.
    async fn config(&self, registry: &Registry, descriptor: &Descriptor) -> Result<Bytes> {
        /// More than any real one has.
        const MAX: usize = 8 << 20;
        let (store, digest) = (self.shared.store.clone(), descriptor.digest.clone());
        let path = store.blobs.path(&digest)?;
        if let Ok(bytes) = tokio::fs::read(&path).await {
            return Ok(bytes.into());
        }
        let (_, answer) = registry.blob(&digest, 0).await?;
        let body = Limited::new(answer.into_body(), MAX).collect().await;
        let bytes = body.map_err(|error| network(registry.host(), &*error))?.to_bytes();
        verify(&bytes, &digest)?;
        Ok(bytes)
    }
}

/// Each layer with the digest of its tar.
fn pairs(manifest: &Manifest, config: &ImageConfig) -> Result<Vec<(Descriptor, String)>> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let reason = format!(
            "{} layers but {} diff ids; is it an image that can run?",
            manifest.layers.len(),
            diff_ids.len()
        );
        return Err(invalid(&manifest.config.digest, reason));
    }
    Ok(manifest.layers.iter().cloned().zip(diff_ids.iter().cloned()).collect())
}

/// Runs what touches the disk apart from the tasks that wait for the network.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(invalid("a pull", error)),
    }
}
