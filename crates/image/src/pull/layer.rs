//! One layer: brought once, resumed where it broke, unpacked while it comes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::feed::Feed;
use super::{LayerState, Transfer, TransferProgress, blocking};
use crate::blob::parts_of;
use crate::error::{At as _, Error, Result, invalid, network};
use crate::remote::Registry;
use crate::spec::Descriptor;
use crate::store::Store;
use crate::unpack::{self, Sync};

/// How often a connection may break without a byte having come.
const TRIES: u32 = 5;
/// The longest time without a byte.
const IDLE: Duration = Duration::from_secs(60);
/// Pieces that may wait for the one who unpacks.
const QUEUE: usize = 64;

impl Transfer {
    /// Brings a layer if it isn't here. Returns how many bytes were fetched.
    pub(super) async fn layer(
        &self,
        registry: &Registry,
        layer: &Descriptor,
        diff_id: &str,
        progress: &Arc<dyn TransferProgress>,
    ) -> Result<u64> {
        let lock = self.lock_of(&layer.digest);
        let _one = lock.lock().await;
        let store = &self.shared.store;
        let target = store.layer_dir(diff_id)?;
        if target.exists() && store.blobs.has(&layer.digest) {
            progress.layer(&layer.digest, LayerState::Exists);
            return Ok(0);
        }
        if store.blobs.has(&layer.digest) {
            let (store, descriptor, wanted) = (store.clone(), layer.clone(), diff_id.to_string());
            progress.layer(&layer.digest, LayerState::Extracting);
            blocking(move || unpack_here(&store, &descriptor, &wanted)).await?;
            progress.layer(&layer.digest, LayerState::Done);
            return Ok(0);
        }
        let _download = self
            .shared
            .downloads
            .acquire()
            .await
            .map_err(|error| invalid("a pull", error))?;
        let mut fetched = 0;
        let mut again = true;
        loop {
            let partial = {
                let (store, digest) = (store.clone(), layer.digest.clone());
                blocking(move || Partial::open(&store, &digest)).await?
            };
            // Another process has brought it meanwhile.
            let Some(partial) = partial else {
                let (store, descriptor, wanted) = (store.clone(), layer.clone(), diff_id.to_string());
                blocking(move || unpack_here(&store, &descriptor, &wanted)).await?;
                break;
            };
            let resumed = partial.have > 0;
            let work = Work {
                store: store.clone(),
                layer: layer.clone(),
                diff_id: diff_id.to_string(),
                progress: progress.clone(),
            };
            match work.run(registry, partial, &mut fetched).await {
                // What an earlier try has left may be what is wrong.
                Err(Error::Digest { .. } | Error::Invalid { .. } | Error::Io { .. }) if resumed && again => {
                    again = false
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        progress.layer(&layer.digest, LayerState::Done);
        Ok(fetched)
    }

    fn lock_of(&self, digest: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut layers = self.shared.layers.lock();
        if let Some(lock) = layers.get(digest).and_then(std::sync::Weak::upgrade) {
            return lock;
        }
        layers.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        layers.insert(digest.to_string(), Arc::downgrade(&lock));
        lock
    }
}

/// Unpacks a layer whose blob is here.
fn unpack_here(store: &Store, layer: &Descriptor, diff_id: &str) -> Result<()> {
    if store.layer_dir(diff_id)?.exists() {
        return Ok(());
    }
    let temp = store.temp_layer()?;
    let found = unpack::unpack(store.blobs.open_blob(&layer.digest)?, temp.path(), Sync::Later)?;
    store.publish_layer(&temp, &found, diff_id)
}

/// The beginning of a blob, locked against other processes.
struct Partial {
    path: PathBuf,
    file: File,
    have: u64,
}

impl Partial {
    /// `None` when the blob is here once the lock is got.
    fn open(store: &Store, digest: &str) -> Result<Option<Self>> {
        let (algorithm, hex) = parts_of(digest)?;
        let path = store.root.join("ingest").join(format!("{algorithm}-{hex}"));
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .at("opening", &path)?;
            file.lock().at("locking", &path)?;
            if store.blobs.has(digest) {
                // The file that this made, or the other process's that has its name now.
                if is_at(&file, &path) {
                    let _ = fs::remove_file(&path);
                }
                return Ok(None);
            }
            let have = file.metadata().at("reading", &path)?.len();
            if is_at(&file, &path) {
                return Ok(Some(Self { path, file, have }));
            }
        }
    }
}

/// Whether the name still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino(),
        _ => false,
    }
}

struct Work {
    store: Store,
    layer: Descriptor,
    diff_id: String,
    progress: Arc<dyn TransferProgress>,
}

impl Work {
    async fn run(self, registry: &Registry, partial: Partial, fetched: &mut u64) -> Result<()> {
        let (digest, total) = (self.layer.digest.clone(), self.layer.size);
        if partial.have > total {
            partial.file.set_len(0).at("writing", &partial.path)?;
        }
        let have = if partial.have > total { 0 } else { partial.have };
        let (sender, pieces) = mpsc::channel(QUEUE);
        let progress = self.progress.clone();
        let unpacking = blocking(move || self.unpack(partial, have, pieces));
        let mut receive = Receive {
            registry,
            digest: &digest,
            total,
            done: have,
            progress: &*progress,
        };
        let receiving = receive.run(sender);
        let (received, unpacked) = tokio::join!(receiving, unpacking);
        *fetched += receive.done.saturating_sub(have);
        match (received, unpacked) {
            (Ok(()), unpacked) => unpacked,
            // The one who unpacks has given up: why is more than that nobody listens.
            (Err(Stopped::NobodyListens), unpacked) => unpacked,
            (Err(Stopped::Failed(error)), _) => Err(error),
        }
    }

    /// On a thread of its own.
    fn unpack(self, partial: Partial, have: u64, pieces: mpsc::Receiver<Bytes>) -> Result<()> {
        let Partial { path, file, .. } = partial;
        let lock = file.try_clone().at("opening", &path)?;
        let mut feed = Feed::new(file, have, self.layer.size, &self.layer.digest, pieces)?;
        let temp = self.store.temp_layer()?;
        let there = self.store.layer_dir(&self.diff_id)?.exists();
        let unpacked = if there {
            Ok(None)
        } else {
            unpack::unpack(&mut feed, temp.path(), Sync::Later).map(Some)
        };
        // The whole blob is wanted for its digest, also of an archive that can't be unpacked: which of the two is
        // wrong decides whether the download is worth keeping.
        let (_, found) = feed.finish().at("receiving", &path)?;
        if found != self.layer.digest {
            fs::remove_file(&path).at("removing", &path)?;
            return Err(Error::Digest {
                digest: self.layer.digest,
                found,
            });
        }
        let blob = self.store.blobs.path(&self.layer.digest)?;
        fs::rename(&path, &blob).at("renaming to", blob)?;
        drop(lock);
        match unpacked? {
            Some(found) => self.store.publish_layer(&temp, &found, &self.diff_id),
            None => Ok(()),
        }
    }
}

/// Why no more is received.
enum Stopped {
    NobodyListens,
    Failed(Error),
}

struct Receive<'a> {
    registry: &'a Registry,
    digest: &'a str,
    total: u64,
    done: u64,
    progress: &'a dyn TransferProgress,
}

impl Receive<'_> {
    /// Receives all that is missing, over as many connections as it takes.
    async fn run(&mut self, pieces: mpsc::Sender<Bytes>) -> Result<(), Stopped> {
        let mut tries = 0;
        while self.done < self.total {
            let before = self.done;
            match self.once(&pieces).await {
                Ok(()) => {}
                Err(Stopped::Failed(error)) if is_passing(&error) => {
                    tries = if self.done > before { 1 } else { tries + 1 };
                    if tries >= TRIES {
                        return Err(Stopped::Failed(error));
                    }
                    tracing::debug!(digest = self.digest, done = self.done, %error, "a download broke; it goes on");
                    self.progress
                        .layer(self.digest, LayerState::Retrying { done: self.done });
                    tokio::time::sleep(Duration::from_millis(200) * 2u32.pow(tries)).await;
                }
                Err(stopped) => return Err(stopped),
            }
        }
        self.progress.layer(self.digest, LayerState::Extracting);
        Ok(())
    }

    async fn once(&mut self, pieces: &mpsc::Sender<Bytes>) -> Result<(), Stopped> {
        let host = self.registry.host().to_string();
        let broken = |reason: &str| {
            Stopped::Failed(Error::Network {
                host: host.clone(),
                reason: reason.to_string(),
            })
        };
        let (begins, answer) = self
            .registry
            .blob(self.digest, self.done)
            .await
            .map_err(Stopped::Failed)?;
        if begins > self.done {
            return Err(broken("it sent another part than was asked for"));
        }
        // A registry that knows no ranges sends what is here already once more.
        let mut skip = self.done - begins;
        let mut body = answer.into_body();
        while self.done < self.total {
            let frame = match tokio::time::timeout(IDLE, body.frame()).await {
                Err(_) => return Err(broken("no byte came for a minute")),
                Ok(None) => return Err(broken("it ended the answer early")),
                Ok(Some(Err(error))) => return Err(Stopped::Failed(network(&host, &error))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let over = usize::try_from(skip).unwrap_or(usize::MAX).min(data.len());
            let _ = data.split_to(over);
            skip -= over as u64;
            let most = usize::try_from(self.total - self.done).unwrap_or(usize::MAX);
            if data.len() > most {
                return Err(Stopped::Failed(invalid(
                    self.digest,
                    "the registry sends more bytes than its manifest says",
                )));
            }
            if data.is_empty() {
                continue;
            }
            self.done += data.len() as u64;
            if pieces.send(data).await.is_err() {
                return Err(Stopped::NobodyListens);
            }
            let (done, total) = (self.done, self.total);
            self.progress
                .layer(self.digest, LayerState::Downloading { done, total });
        }
        Ok(())
    }
}

/// Whether another try may help.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Network { .. } => true,
        Error::Registry { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        Error::Io { source, .. } => source.kind() == io::ErrorKind::Interrupted,
        _ => false,
    }
}
