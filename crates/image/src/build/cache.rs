//! What earlier builds made: layers by the digest of all that they depend on.
//!
//! An entry is a small file; the layer that it names is among the store's blobs and is kept for it. Entries that no
//! build has used for a month go.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{At as _, Result, invalid};
use crate::spec::Descriptor;
use crate::store::Store;

/// How long an entry is kept that no build asks for.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// A digest of all that a step depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Of parts that are told apart, also when they are empty.
    pub(super) fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex::encode(hash.finalize()))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Released format: fields are added, never changed.
#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    layer: Descriptor,
    created: String,
}

/// A layer, and when it was made (RFC 3339).
#[derive(Debug)]
pub(super) struct Made {
    pub(super) layer: Descriptor,
    pub(super) created: String,
}

fn dir(store: &Store) -> PathBuf {
    store.root().join("build/cache")
}

/// The layer of an earlier build.
pub(super) fn find(store: &Store, key: &Key) -> Result<Option<Made>> {
    let path = dir(store).join(&key.0);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.at("reading", &path)?,
    };
    let Ok(entry) = serde_json::from_slice::<Entry>(&bytes) else {
        // Damaged, or of a newer version: it is made anew.
        return Ok(None);
    };
    if entry.version != 1 || !store.blobs.has(&entry.layer.digest) {
        return Ok(None);
    }
    let now = fs::FileTimes::new().set_modified(SystemTime::now());
    if let Ok(file) = fs::File::options().append(true).open(&path) {
        // A time that can't be set only makes the entry older.
        let _ = file.set_times(now);
    }
    Ok(Some(Made {
        layer: entry.layer,
        created: entry.created,
    }))
}

/// Notes a layer for later builds.
pub(super) fn put(store: &Store, key: &Key, made: &Made) -> Result<()> {
    let dir = dir(store);
    fs::create_dir_all(&dir).at("making", &dir)?;
    let entry = Entry {
        version: 1,
        layer: made.layer.clone(),
        created: made.created.clone(),
    };
    let bytes = serde_json::to_vec(&entry).map_err(|error| invalid("a cache entry", error))?;
    let file = store.blobs.temp_file()?;
    fs::write(file.path(), bytes).at("writing", file.path())?;
    let path = dir.join(&key.0);
    file.persist(&path).at("renaming to", path)?;
    Ok(())
}

/// The digests of all layers that the cache names.
pub(crate) fn layers(store: &Store) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    for path in entries(store)? {
        let entry = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
        layers.extend(entry.map(|entry| entry.layer.digest));
    }
    Ok(layers)
}

/// Forgets what no build has asked for in a month, or everything. The layers go with the store's next collection.
pub(super) fn trim(store: &Store, everything: bool) -> Result<()> {
    let now = SystemTime::now();
    for path in entries(store)? {
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let old = used.is_ok_and(|used| now.duration_since(used).is_ok_and(|age| age > UNUSED));
        if old || everything {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.at("removing", path)?,
            }
        }
    }
    Ok(())
}

fn entries(store: &Store) -> Result<Vec<PathBuf>> {
    let dir = dir(store);
    let mut paths = Vec::new();
    match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).at("reading", dir),
        Ok(all) => {
            for entry in all {
                paths.push(entry.at("reading", &dir)?.path());
            }
        }
    }
    Ok(paths)
}
