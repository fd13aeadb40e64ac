//! What a registry serves from a store: repositories with their tags, manifests and blobs, over the same blobs as the
//! images of this machine. No HTTP in here.
//!
//! ```text
//! repositories/NAME/tags/TAG              the digest
//! repositories/NAME/manifests/ALG-HEX     what the manifest is
//! repositories/NAME/blobs/ALG-HEX         empty: the repository has this blob
//! ```

mod referrers;
mod upload;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use upload::Upload;

use crate::blob::{digest_of, parts_of, verify};
use crate::error::{At as _, Error, Result, invalid};
use crate::reference::Reference;
use crate::spec::{Descriptor, MANIFEST};
use crate::store::{Origin, Store};

/// A blob that was pushed waits for its manifest for this long before it is collected.
const GRACE: Duration = Duration::from_secs(3600);

/// A repository of a store, which may be empty.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
    dir: PathBuf,
    name: String,
    /// The registry whose images of this machine are served too: those that were made here.
    registry: String,
}

/// A manifest or index of a repository.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its digest.
    pub digest: String,
    /// What it is.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
    /// The digest of what it is about, when it is about another manifest.
    pub subject: Option<String>,
}

/// Why a manifest isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The document is no manifest.
    #[error("{0}")]
    Invalid(String),
    /// Its digest is another one.
    #[error("{0}")]
    Digest(String),
    /// It refers to something that the repository hasn't.
    #[error("the repository has no {0}; push it first")]
    Unknown(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What is kept of a manifest beside its blob. Released format: fields are added, never changed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Value>,
}

impl Store {
    /// A repository by its name. `registry` is the name under which images of this machine belong to it.
    pub fn repository(&self, registry: &str, name: &str) -> Result<Repository> {
        // The grammar is that of names in images.
        let _: Reference = format!("{registry}/{name}").parse()?;
        if name.contains([':', '@']) {
            return Err(invalid(
                format!("repository {name:?}"),
                "a repository's name has no tag",
            ));
        }
        Ok(Repository {
            store: self.clone(),
            dir: self.root.join("repositories").join(name.replace('/', "%2F")),
            name: name.to_string(),
            registry: registry.to_string(),
        })
    }

    /// What repositories hold on to; blobs that no manifest leads to only for a while.
    pub(crate) fn repository_roots(&self) -> Result<Vec<String>> {
        let mut roots = Vec::new();
        let all = self.root.join("repositories");
        for entry in fs::read_dir(&all).at("reading", &all)? {
            let dir = entry.at("reading", &all)?.path();
            for (digest, _) in digests_in(&dir.join("manifests"))? {
                roots.push(digest);
            }
            for (digest, age) in digests_in(&dir.join("blobs"))? {
                if age < GRACE {
                    roots.push(digest);
                }
            }
        }
        Ok(roots)
    }
}

impl Repository {
    /// Its name within the registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether anything was ever pushed to it, or an image of this machine has its name.
    pub fn exists(&self) -> Result<bool> {
        Ok(self.dir.exists() || !self.local()?.is_empty())
    }

    /// A blob's file and length.
    pub fn blob(&self, digest: &str) -> Result<Option<(PathBuf, u64)>> {
        parts_of(digest)?;
        let Some(size) = self.store.blobs.size(digest)? else {
            return Ok(None);
        };
        if !self.link("blobs", digest)?.exists() && !self.has_locally(digest)? {
            return Ok(None);
        }
        Ok(Some((self.store.blobs.path(digest)?, size)))
    }

    /// Makes a blob of the store one of this repository.
    pub fn add_blob(&self, digest: &str) -> Result<()> {
        self.write("blobs", digest, b"")
    }

    /// Takes a blob out of the repository; false when it wasn't there.
    pub fn remove_blob(&self, digest: &str) -> Result<bool> {
        remove(&self.link("blobs", digest)?)
    }

    /// A manifest by tag or digest.
    pub fn manifest(&self, reference: &str) -> Result<Option<Stored>> {
        let digest = if reference.contains(':') {
            parts_of(reference)?;
            Some(reference.to_string())
        } else {
            self.tag(reference)?
        };
        let Some(digest) = digest else { return Ok(None) };
        let entry = self.entry(&digest)?;
        if entry.is_none() && !self.local()?.iter().any(|(_, image)| image.contains(&digest)) {
            return Ok(None);
        }
        let path = self.store.blobs.path(&digest)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("reading", path),
        };
        let (media_type, subject) = match entry {
            Some(entry) => (entry.media_type, entry.subject),
            None => (media_type_of(&bytes), None),
        };
        Ok(Some(Stored {
            digest,
            media_type,
            bytes,
            subject,
        }))
    }

    /// Takes a manifest under a tag or its digest, and under more tags.
    pub fn put_manifest(
        &self,
        reference: &str,
        tags: &[String],
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Stored, Refused> {
        let digest = if reference.contains(':') {
            parts_of(reference).map_err(|error| Refused::Digest(error.to_string()))?;
            verify(bytes, reference).map_err(|error| Refused::Digest(error.to_string()))?;
            reference.to_string()
        } else {
            digest_of(bytes)
        };
        let document: Value = serde_json::from_slice(bytes).map_err(|error| Refused::Invalid(error.to_string()))?;
        self.check(&document, media_type)?;
        let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_string);
        let subject = document
            .pointer("/subject/digest")
            .and_then(Value::as_str)
            .map(str::to_string);
        let config_type = document
            .pointer("/config/mediaType")
            .and_then(Value::as_str)
            .map(str::to_string);
        let entry = Entry {
            media_type: media_type.to_string(),
            size: bytes.len() as u64,
            subject: subject.clone(),
            artifact_type: text("artifactType").filter(|kind| !kind.is_empty()).or(config_type),
            annotations: document.get("annotations").cloned(),
        };
        let record = serde_json::to_vec(&entry).map_err(|error| Refused::Invalid(error.to_string()))?;
        self.store.blobs.put_durably(&digest, bytes)?;
        self.write("manifests", &digest, &record)?;
        let tag = (!reference.contains(':')).then(|| reference.to_string());
        for tag in tag.iter().chain(tags) {
            self.write_tag(tag, &digest)?;
        }
        Ok(Stored {
            digest,
            media_type: entry.media_type,
            bytes: Vec::new(),
            subject,
        })
    }

    /// Removes a manifest with its tags, or one tag; false when it wasn't there.
    pub fn remove_manifest(&self, reference: &str) -> Result<bool> {
        if !reference.contains(':') {
            return remove(&self.tag_path(reference)?);
        }
        let there = remove(&self.link("manifests", reference)?)?;
        for tag in self.own_tags()? {
            if self.own_tag(&tag)?.as_deref() == Some(reference) {
                remove(&self.tag_path(&tag)?)?;
            }
        }
        Ok(there)
    }

    /// All tags in order.
    pub fn tags(&self) -> Result<Vec<String>> {
        let mut tags: BTreeSet<String> = self.own_tags()?.into_iter().collect();
        tags.extend(self.local()?.into_iter().map(|(tag, _)| tag));
        Ok(tags.into_iter().collect())
    }

    fn own_tags(&self) -> Result<Vec<String>> {
        names_in(&self.dir.join("tags"))
    }

    fn tag(&self, tag: &str) -> Result<Option<String>> {
        if let Some(digest) = self.own_tag(tag)? {
            return Ok(Some(digest));
        }
        let local = self.local()?;
        Ok(local
            .into_iter()
            .find(|(name, _)| name == tag)
            .map(|(_, image)| image[0].clone()))
    }

    fn own_tag(&self, tag: &str) -> Result<Option<String>> {
        let path = self.tag_path(tag)?;
        match fs::read_to_string(&path) {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("reading", path),
        }
    }

    fn write_tag(&self, tag: &str, digest: &str) -> Result<()> {
        let path = self.tag_path(tag)?;
        fs::create_dir_all(self.dir.join("tags")).at("making", &path)?;
        self.store.write_whole(&path, digest.as_bytes())
    }

    fn tag_path(&self, tag: &str) -> Result<PathBuf> {
        let _: Reference = format!("{}/{}:{tag}", self.registry, self.name).parse()?;
        Ok(self.dir.join("tags").join(tag))
    }

    fn entry(&self, digest: &str) -> Result<Option<Entry>> {
        let path = self.link("manifests", digest)?;
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| invalid(path.display().to_string(), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("reading", path),
        }
    }

    fn link(&self, part: &str, digest: &str) -> Result<PathBuf> {
        let (algorithm, hex) = parts_of(digest)?;
        Ok(self.dir.join(part).join(format!("{algorithm}-{hex}")))
    }

    fn write(&self, part: &str, digest: &str, content: &[u8]) -> Result<()> {
        let path = self.link(part, digest)?;
        let dir = self.dir.join(part);
        fs::create_dir_all(&dir).at("making", &dir)?;
        self.store.write_whole(&path, content)
    }

    /// The images of this machine that belong here, by tag: the digests of index and manifest. Those that were pulled
    /// are their registry's to give.
    fn local(&self) -> Result<Vec<(String, Vec<String>)>> {
        let mut found = Vec::new();
        for record in self.store.records()? {
            let reference: Reference = record.name.parse()?;
            let ours = reference.registry() == self.registry && reference.repository() == self.name;
            if let (true, Origin::Local, Some(tag)) = (ours, record.origin, reference.tag()) {
                let digests = vec![record.target().to_string(), record.manifest.clone()];
                found.push((tag.to_string(), digests));
            }
        }
        Ok(found)
    }

    fn has_locally(&self, digest: &str) -> Result<bool> {
        for (_, digests) in self.local()? {
            let mut reached = std::collections::HashSet::new();
            for root in digests {
                self.store.reach(&root, &mut reached);
            }
            if reached.contains(digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a document is what its media type says, and all that it refers to is here.
    fn check(&self, document: &Value, media_type: &str) -> Result<(), Refused> {
        if !document.is_object() {
            return Err(Refused::Invalid("a manifest is a JSON object".to_string()));
        }
        if let Some(own) = document.get("mediaType").and_then(Value::as_str)
            && own != media_type
        {
            let text = format!("Content-Type says {media_type}, the document {own}");
            return Err(Refused::Invalid(text));
        }
        let read = |value: &Value| {
            serde_json::from_value::<Descriptor>(value.clone()).map_err(|error| Refused::Invalid(error.to_string()))
        };
        let list = |key: &str| document.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        for manifest in list("manifests") {
            let digest = read(&manifest)?.digest;
            if self.entry(&digest)?.is_none() && self.manifest(&digest)?.is_none() {
                return Err(Refused::Unknown(format!("manifest {digest}")));
            }
        }
        for blob in list("layers").iter().chain(document.get("config")) {
            let blob = read(blob)?;
            // Layers that their owner doesn't let registries have.
            let foreign = blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign");
            if !foreign && self.blob(&blob.digest)?.is_none() {
                return Err(Refused::Unknown(format!("blob {}", blob.digest)));
            }
        }
        Ok(())
    }
}

fn media_type_of(bytes: &[u8]) -> String {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    document
        .get("mediaType")
        .and_then(Value::as_str)
        .unwrap_or(MANIFEST)
        .to_string()
}

fn remove(path: &std::path::Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("removing", path),
    }
}

/// Sorted; none when there is no such directory.
fn names_in(dir: &std::path::Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).at("reading", dir),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.at("reading", dir)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The digests that a directory of links names, with the links' ages.
fn digests_in(dir: &std::path::Path) -> Result<Vec<(String, Duration)>> {
    let mut found = Vec::new();
    for name in names_in(dir)? {
        let modified = fs::metadata(dir.join(&name)).and_then(|metadata| metadata.modified());
        let age = modified
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        found.push((name.replacen('-', ":", 1), age.unwrap_or_default()));
    }
    Ok(found)
}
