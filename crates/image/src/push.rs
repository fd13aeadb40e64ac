//! Pushing: an image's blobs, those that the registry lacks, and its manifest last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::error::{At as _, Error, Result, invalid};
use crate::pull::{LayerState, Transfer, TransferOptions, TransferProgress, blocking};
use crate::reference::Reference;
use crate::remote::{Credential, Purpose, Registry};
use crate::spec::{Index, MANIFEST, Manifest};
use crate::store::NameRecord;

/// Blobs that are pushed at a time.
const PARALLEL: usize = 4;

/// What a push did.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The digest under which the registry has it.
    pub digest: String,
    /// Bytes of its blobs.
    pub size: u64,
    /// How long it took.
    pub took: std::time::Duration,
}

/// A document to push, and what it is.
struct Document {
    digest: String,
    media_type: String,
    bytes: Bytes,
}

/// All that a push sends.
struct Content {
    /// Digest and size.
    blobs: BTreeSet<(String, u64)>,
    /// Those that others refer to first.
    documents: Vec<Document>,
    /// Repositories of the same registry that have some of it, most likely.
    mount: Option<String>,
}

impl Transfer {
    /// Pushes what `name` means here to the registry that it names.
    pub async fn push(&self, name: &Reference, options: &TransferOptions) -> Result<Pushed> {
        let started = Instant::now();
        let (transfer, reference) = (self.clone(), name.clone());
        let content = Arc::new(blocking(move || transfer.content(&reference)).await?);
        let (keyring, image) = (options.keyring.clone(), name.clone());
        let credentials = blocking(move || keyring.for_image(&image)).await?;
        let endpoint = self
            .endpoints(name, Purpose::Push, options.insecure)?
            .pop()
            .ok_or_else(|| crate::error::configuration(name.registry(), "no host of it takes pushes"))?;
        let askers: Vec<Option<Credential>> = if credentials.is_empty() || endpoint.cluster {
            vec![None]
        } else {
            credentials.into_iter().map(Some).collect()
        };
        let mut failure = Error::NotFound(name.to_string());
        for asker in askers {
            let session = self.session(&endpoint, asker).await?;
            let registry = Registry::new(session, name.repository());
            match Box::pin(self.send(&registry, name, &content, options.progress.as_ref())).await {
                Ok(digest) => {
                    return Ok(Pushed {
                        digest,
                        size: content.blobs.iter().map(|(_, size)| size).sum(),
                        took: started.elapsed(),
                    });
                }
                Err(error @ Error::Registry { status: 401 | 403, .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn send(
        &self,
        registry: &Registry,
        name: &Reference,
        content: &Content,
        progress: Option<&Arc<dyn TransferProgress>>,
    ) -> Result<String> {
        let told = |digest: &str, state| {
            if let Some(progress) = progress {
                progress.layer(digest, state);
            }
        };
        let pushes = content.blobs.iter().map(|(digest, size)| async move {
            told(digest, LayerState::Waiting { total: *size });
            if registry.has_blob(digest).await? {
                told(digest, LayerState::Exists);
                return Ok::<_, Error>(());
            }
            told(digest, LayerState::Downloading { done: 0, total: *size });
            let path = self.shared.store.blobs.path(digest)?;
            registry
                .push_blob(digest, &path, *size, content.mount.as_deref())
                .await?;
            told(digest, LayerState::Done);
            Ok(())
        });
        stream::iter(pushes)
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<_>>()
            .await?;
        let Some((last, first)) = content.documents.split_last() else {
            return Err(Error::NotFound(name.to_string()));
        };
        for document in first {
            let bytes = document.bytes.clone();
            registry
                .push_manifest(&document.digest, &document.media_type, bytes)
                .await?;
        }
        let reference = name.tag().or(name.digest()).unwrap_or("latest");
        registry
            .push_manifest(reference, &last.media_type, last.bytes.clone())
            .await?;
        Ok(last.digest.clone())
    }

    /// An index goes with the image when all of it is here; else the image of this machine goes alone.
    fn content(&self, name: &Reference) -> Result<Content> {
        let store = &self.shared.store;
        let record = store
            .record_of(name)?
            .ok_or_else(|| Error::NotFound(name.to_string()))?;
        let mut content = Content {
            blobs: BTreeSet::new(),
            documents: Vec::new(),
            mount: self.mount_from(name, &record)?,
        };
        if let Some(index) = &record.index
            && let Ok(list) = store.blobs.json::<Index>(index)
            && list.manifests.iter().all(|manifest| self.is_whole(&manifest.digest))
        {
            for manifest in &list.manifests {
                self.add(&manifest.digest, &mut content)?;
            }
            content.documents.push(self.document(index)?);
            return Ok(content);
        }
        self.add(&record.manifest, &mut content)?;
        Ok(content)
    }

    fn is_whole(&self, digest: &str) -> bool {
        let blobs = &self.shared.store.blobs;
        let manifest = blobs.has(digest).then(|| blobs.json::<Manifest>(digest).ok()).flatten();
        manifest.is_some_and(|m| {
            std::iter::once(&m.config)
                .chain(&m.layers)
                .all(|blob| blobs.has(&blob.digest))
        })
    }

    fn add(&self, digest: &str, content: &mut Content) -> Result<()> {
        let manifest: Manifest = self.shared.store.blobs.json(digest)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if !self.shared.store.blobs.has(&blob.digest) {
                return Err(invalid(
                    &blob.digest,
                    "the blob isn't here any more; pull or import the image again",
                ));
            }
            content.blobs.insert((blob.digest.clone(), blob.size));
        }
        content.documents.push(self.document(digest)?);
        Ok(())
    }

    fn document(&self, digest: &str) -> Result<Document> {
        let path = self.shared.store.blobs.path(digest)?;
        let bytes = std::fs::read(&path).at("reading", path)?;
        let document: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(digest, error))?;
        let media_type = document
            .get("mediaType")
            .and_then(Value::as_str)
            .unwrap_or(MANIFEST)
            .to_string();
        Ok(Document {
            digest: digest.to_string(),
            media_type,
            bytes: bytes.into(),
        })
    }

    /// Another repository of the registry that shares the lowest layer.
    fn mount_from(&self, name: &Reference, record: &NameRecord) -> Result<Option<String>> {
        let store = &self.shared.store;
        let lowest = |record: &NameRecord| -> Result<Option<String>> {
            let manifest = store.manifest(record)?;
            Ok(manifest.and_then(|manifest| Some(manifest.layers.first()?.digest.clone())))
        };
        let wanted = lowest(record)?;
        for other in store.records()? {
            let reference: Reference = other.name.parse()?;
            let elsewhere = reference.registry() == name.registry() && reference.repository() != name.repository();
            if elsewhere && wanted.is_some() && lowest(&other)? == wanted {
                return Ok(Some(reference.repository().to_string()));
            }
        }
        Ok(None)
    }
}
