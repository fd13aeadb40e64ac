//! The layer between the store and all who use it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ::store::{Batch, Change, Error, Event, Feed, Got, Key, Op, Outcome, Page, Range, Record, Store, Txn};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use meta::{Revision, Status};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::config::{EncryptionConfiguration, EncryptionSettings, Kms};
use super::kms::{Calls, Plugin};
use super::metrics::Transformations;
use super::transformer::{Transformers, resource};
use super::{TransformError, is_encrypted};
use crate::traces;

/// A store whose values are encrypted as the configuration says.
pub(crate) struct EncryptedStore {
    inner: Arc<dyn Store>,
    layer: Arc<Layer>,
    settings: Option<EncryptionSettings>,
    /// The fingerprint of the configuration that holds.
    loaded: Mutex<[u8; 32]>,
}

/// What reads and writes share with the feeds.
struct Layer {
    transformers: ArcSwap<Transformers>,
    count: Transformations,
    /// Prefixes with values that could not be decrypted when they were read.
    unread: Mutex<BTreeSet<String>>,
    /// Told when they perhaps can be by now.
    healed: Arc<Notify>,
}

impl EncryptedStore {
    /// Lays the configuration over a store.
    pub(crate) async fn open(
        inner: Arc<dyn Store>,
        settings: Option<&EncryptionSettings>,
        server_id: &str,
    ) -> Result<EncryptedStore, crate::Error> {
        let count = Transformations::new(server_id);
        let healed = Arc::new(Notify::new());
        let mut loaded = [0; 32];
        let transformers = match settings {
            None => Transformers::none(),
            Some(settings) => {
                let text = read(&settings.file)?;
                loaded = fingerprint(&text);
                count.holds(&loaded);
                load(&settings.file, &text, settings.reload, (&healed, &count.calls))?
            }
        };
        for plugin in transformers.plugins() {
            // One that comes later is no reason not to start.
            let _ = plugin.check().await;
        }
        let layer = Layer {
            transformers: ArcSwap::from_pointee(transformers),
            count,
            unread: Mutex::default(),
            healed,
        };
        Ok(EncryptedStore {
            inner,
            layer: Arc::new(layer),
            settings: settings.cloned(),
            loaded: Mutex::new(loaded),
        })
    }

    /// The value of what could not be decrypted when it was read, or why it can't.
    pub(crate) async fn read(&self, key: &str, stored: &Bytes) -> Result<Bytes, TransformError> {
        let value = self.layer.try_open(key, stored).await?;
        // The caches can be filled anew.
        self.layer.healed.notify_one();
        Ok(value)
    }

    /// Whether the value that some revision wrote would be written otherwise now: by another key, or encrypted at all.
    pub(crate) async fn is_stale(&self, key: &str, revision: Revision) -> Result<bool, Status> {
        let transformers = self.layer.transformers.load_full();
        let providers = transformers.of(key);
        if providers.is_plain() {
            return Ok(false);
        }
        let got = self.inner.get(key, None).await.map_err(crate::status::of_store)?;
        let Some(record) = got.record.filter(|record| record.revision == revision) else {
            return Ok(false);
        };
        let opened = providers.open(key, record.value, &self.layer.count).await;
        Ok(opened.map_err(Status::internal)?.is_stale)
    }

    /// The settings that it was opened with.
    pub(super) fn settings(&self) -> Option<&EncryptionSettings> {
        self.settings.as_ref()
    }

    /// Reads the configuration again; false when it is the one that holds already. Another one holds from now on when all
    /// its plug-ins are well.
    pub(super) async fn reload(&self, file: &Path) -> Result<bool, crate::Error> {
        let text = read(file)?;
        if *self.loaded.lock() == fingerprint(&text) {
            return Ok(false);
        }
        let layer = &self.layer;
        let transformers = load(file, &text, true, (&layer.healed, &layer.count.calls))?;
        for plugin in transformers.plugins() {
            plugin.check().await.map_err(|why| unusable(file, why))?;
        }
        self.layer.transformers.store(Arc::new(transformers));
        let loaded = fingerprint(&text);
        *self.loaded.lock() = loaded;
        self.layer.count.holds(&loaded);
        self.layer.healed.notify_one();
        Ok(true)
    }

    /// Counts a reload.
    pub(super) fn count_reload(&self, success: bool) {
        self.layer.count.reloaded(success);
    }

    /// Until what could not be decrypted perhaps can be: the prefixes of those values.
    pub(super) async fn healed(&self) -> Vec<String> {
        loop {
            self.layer.healed.notified().await;
            let prefixes = std::mem::take(&mut *self.layer.unread.lock());
            if !prefixes.is_empty() {
                return prefixes.into_iter().collect();
            }
        }
    }

    /// The health check `kms-providers`; none when nobody needs it.
    pub(crate) fn has_health_check(&self) -> bool {
        let reloads = self.settings.as_ref().is_some_and(|settings| settings.reload);
        reloads || !self.layer.transformers.load().plugins().is_empty()
    }

    /// Whether all plug-ins of key management services are well.
    pub(crate) async fn is_healthy(&self) -> bool {
        let plugins: Vec<Arc<Plugin>> = self.layer.transformers.load().plugins().to_vec();
        let mut good = true;
        for plugin in plugins {
            good &= plugin.check().await.is_ok();
        }
        good
    }

    /// Appends what is counted, in the Prometheus text format.
    pub(crate) fn write_metrics(&self, out: &mut String) {
        self.layer.count.write(out);
    }
}

/// The text of a configuration.
fn read(file: &Path) -> Result<String, crate::Error> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.is_empty() => Err(unusable(file, "the file is empty")),
        Ok(text) => Ok(text),
        Err(error) => Err(unusable(file, error.to_string())),
    }
}

/// Makes what a configuration says. Its plug-ins tell `healed` when they answer again, and count what they are asked.
fn load(
    file: &Path,
    text: &str,
    reload: bool,
    (healed, calls): (&Arc<Notify>, &Arc<Calls>),
) -> Result<Transformers, crate::Error> {
    let configuration = EncryptionConfiguration::parse(text, reload).map_err(|why| unusable(file, why))?;
    let mut connect = |kms: &Kms| Plugin::start(kms, healed, calls);
    Transformers::new(&configuration, &mut connect).map_err(|error| unusable(file, error.to_string()))
}

fn unusable(file: &Path, why: impl Into<String>) -> crate::Error {
    crate::Error::Encryption {
        file: file.to_owned(),
        why: why.into(),
    }
}

/// Tells configurations apart without keeping the keys in them.
fn fingerprint(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

impl Layer {
    async fn seal(&self, key: &Key, value: Bytes) -> Result<Bytes, Error> {
        let transformers = self.transformers.load_full();
        let sealed = transformers.of(key).seal(key, value, &self.count).await;
        sealed.map_err(|error| Error::Transform(error.to_string()))
    }

    async fn try_open(&self, key: &str, stored: &Bytes) -> Result<Bytes, TransformError> {
        let transformers = self.transformers.load_full();
        let opened = transformers.of(key).open(key, stored.clone(), &self.count).await;
        opened.map(|opened| opened.value)
    }

    /// The value, or what is stored when it can't be decrypted.
    async fn open(&self, key: &str, stored: Bytes) -> Bytes {
        if !is_encrypted(&stored) {
            return stored;
        }
        match self.try_open(key, &stored).await {
            Ok(value) => value,
            Err(error) => {
                // Once a resource, and not for each of its values.
                let Some(of) = resource(key) else { return stored };
                if self.unread.lock().insert(format!("/registry/{of}/")) {
                    tracing::error!(key, %error, "values in the store can't be decrypted");
                }
                stored
            }
        }
    }

    async fn open_record(&self, record: &mut Record) {
        if is_encrypted(&record.value) {
            record.value = self.open(&record.key, std::mem::take(&mut record.value)).await;
        }
    }

    async fn open_batch(&self, batch: Batch) -> Batch {
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events.iter() {
            let change = match &event.change {
                Change::Put(stored) => Change::Put(self.open(&event.key, stored.clone()).await),
                Change::Delete => Change::Delete,
            };
            let key = event.key.clone();
            events.push(Event { key, change });
        }
        Batch {
            revision: batch.revision,
            events: events.into(),
        }
    }
}

#[async_trait]
impl Store for EncryptedStore {
    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, Error> {
        let mut got = traced(self.inner.get(key, at)).await?;
        if let Some(record) = &mut got.record {
            self.layer.open_record(record).await;
        }
        Ok(got)
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let mut page = traced(self.inner.range(range)).await?;
        for record in &mut page.records {
            self.layer.open_record(record).await;
        }
        Ok(page)
    }

    async fn commit(&self, mut txn: Txn) -> Result<Outcome, Error> {
        for op in &mut txn.ops {
            if let Op::Put { key, value, .. } = op {
                *value = self.layer.seal(key, std::mem::take(value)).await?;
            }
        }
        let mut outcome = traced(self.inner.commit(txn)).await?;
        if let Outcome::Conflict { current, .. } = &mut outcome {
            for record in current.iter_mut().flatten() {
                self.layer.open_record(record).await;
            }
        }
        Ok(outcome)
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Feed>, Error> {
        let inner = self.inner.watch(after).await?;
        let layer = Arc::clone(&self.layer);
        Ok(Box::new(OpenedFeed {
            inner,
            layer,
            opening: None,
        }))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }
}

/// Calls the store as a part of the trace that the current request belongs to.
async fn traced<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match traces::parent() {
        None => call.await,
        Some(parent) => ::store::traced(parent, call).await,
    }
}

/// Whether nothing in a batch is encrypted.
fn is_plain(batch: &Batch) -> bool {
    batch.events.iter().all(|event| match &event.change {
        Change::Put(value) => !is_encrypted(value),
        Change::Delete => true,
    })
}

/// A feed whose values are decrypted.
struct OpenedFeed {
    inner: Box<dyn Feed>,
    layer: Arc<Layer>,
    /// A batch that is out of the inner feed and not handed on yet. Whoever waits may stop to and come again: what has begun
    /// goes on then.
    opening: Option<BoxFuture<'static, Batch>>,
}

#[async_trait]
impl Feed for OpenedFeed {
    async fn next(&mut self) -> Result<Batch, Error> {
        let begun = match &mut self.opening {
            Some(begun) => begun,
            none => {
                let batch = self.inner.next().await?;
                if is_plain(&batch) {
                    return Ok(batch);
                }
                let layer = Arc::clone(&self.layer);
                none.insert(Box::pin(async move { layer.open_batch(batch).await }))
            }
        };
        let opened = begun.await;
        self.opening = None;
        Ok(opened)
    }

    async fn request_progress(&mut self) -> Result<(), Error> {
        self.inner.request_progress().await
    }
}
