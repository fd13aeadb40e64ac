//! The image store: names to manifests, blobs, and layers unpacked once for all images that share them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::blob::{Blobs, hex_of};
use crate::error::{At as _, Error, Result, invalid};
use crate::reference::Reference;
use crate::remote::Credential;
use crate::spec::{CONFIG, Descriptor, ImageConfig, MANIFEST, Manifest};
use crate::unpack::{self, Sync};

/// A directory of images:
///
/// ```text
/// blobs/ALGORITHM/HEX   manifests, configurations and layers by their digest
/// layers/HEX/           a layer unpacked, by the digest of its tar
/// names/NAME            what a name means, NAME percent-encoded
/// claims/ID             content that has no name yet, or isn't on the disk yet
/// ingest/ALGORITHM-HEX  the beginning of a blob that is being pulled
/// repositories/         what the registry serves by its own names
/// tmp/                  what is being written
/// build/                what builds keep: their cache, cache mounts, and rooms of builds under way
/// lock                  shared while content is added, exclusive while it is removed
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) root: PathBuf,
    pub(crate) blobs: Blobs,
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built, imported or tagged here: the cluster has it from nobody else.
    #[default]
    Local,
    /// Pulled from a registry, which may want to know who asks for it.
    Pulled,
}

/// An image that is ready to run.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name that was asked for, normalised.
    pub reference: Reference,
    /// The manifest's digest.
    pub digest: String,
    /// What the registry calls the image: the digest of the index that led to the manifest, or the manifest's own.
    pub target: String,
    /// Where it came from.
    pub origin: Origin,
    /// The configuration's digest, which Docker and the CRI call the image's id.
    pub id: String,
    /// What runs.
    pub config: ImageConfig,
    /// The unpacked layers, topmost first, as overlayfs wants its `lowerdir`s.
    pub layers: Vec<PathBuf>,
}

/// A line of `gantry image ls`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The name, normalised.
    pub name: String,
    /// The manifest's digest.
    pub digest: String,
    /// The configuration's digest.
    pub id: String,
    /// Bytes of the manifest, the configuration and the layers as they are stored.
    pub size: u64,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// What a file in `names/` says. Released format: fields are added, never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) name: String,
    pub(crate) manifest: String,
    /// The index that led to the manifest, where the registry has one under the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
    #[serde(default)]
    pub(crate) origin: Origin,
    #[serde(default)]
    pub(crate) access: Access,
}

/// Who may use an image without asking its registry again: it may have been pulled with a secret that others haven't.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Access {
    #[default]
    Everyone,
    /// Those who have one of these credentials, by their fingerprints.
    Holders(Vec<String>),
}

impl NameRecord {
    /// What a registry calls the image.
    pub(crate) fn target(&self) -> &str {
        self.index.as_deref().unwrap_or(&self.manifest)
    }

    fn is(&self, digest: &str) -> bool {
        self.manifest == digest || self.index.as_deref() == Some(digest)
    }
}

impl Store {
    /// Opens the store in `root` and makes it if it isn't there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let blobs = Blobs::open(&root)?;
        for part in ["layers", "names", "claims", "ingest", "repositories"] {
            let dir = root.join(part);
            fs::create_dir_all(&dir).at("making", dir)?;
        }
        let store = Self { root, blobs };
        store.recover()?;
        Ok(store)
    }

    /// The directory that it is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image behind a name; `None` when there is none. A digest as the name's end must match, and an image's id
    /// (`sha256:...`) is understood too.
    pub fn resolve(&self, name: &str) -> Result<Option<Image>> {
        if hex_of(name).is_ok() {
            return self.by_id(name);
        }
        let reference: Reference = name.parse()?;
        match self.record_of(&reference)? {
            Some(record) => self.load(reference, record),
            None => Ok(None),
        }
    }

    /// Whether one who has these credentials may use an image that is here: it was pulled without any or with one of
    /// them, or it comes from no registry.
    pub fn may_use(&self, name: &Reference, credentials: &[Credential]) -> Result<bool> {
        Ok(match self.record_of(name)?.map(|record| record.access) {
            Some(Access::Holders(holders)) => credentials.iter().any(|one| holders.contains(&one.fingerprint())),
            _ => true,
        })
    }

    /// Who may use an image after a pull: also those who could before, when it is still the same one.
    pub(crate) fn access_after(
        &self,
        name: &Reference,
        record: &NameRecord,
        asker: Option<&Credential>,
    ) -> Result<Access> {
        let Some(asker) = asker else {
            return Ok(Access::Everyone);
        };
        let before = self.read_record(&self.name_path(name))?;
        let mut holders = match before
            .filter(|before| before.target() == record.target())
            .map(|b| b.access)
        {
            Some(Access::Everyone) => return Ok(Access::Everyone),
            Some(Access::Holders(holders)) => holders,
            None => Vec::new(),
        };
        let own = asker.fingerprint();
        if !holders.contains(&own) {
            holders.push(own);
        }
        Ok(Access::Holders(holders))
    }

    /// All names, sorted.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let mut summaries = Vec::new();
        for record in self.records()? {
            let Some(manifest) = self.manifest(&record)? else {
                continue;
            };
            let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
            summaries.push(Summary {
                name: record.name,
                digest: record.index.unwrap_or(record.manifest),
                size: manifest.size(),
                id: manifest.config.digest,
                created: config.created,
                origin: record.origin,
            });
        }
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(summaries)
    }

    /// Gives an image that was made here a name; content first, name last.
    pub(crate) fn set_name(&self, reference: &Reference, manifest: &str) -> Result<()> {
        self.write_record(
            reference,
            &NameRecord {
                name: reference.to_string(),
                manifest: manifest.to_string(),
                index: None,
                origin: Origin::Local,
                access: Access::Everyone,
            },
        )
    }

    pub(crate) fn write_record(&self, reference: &Reference, record: &NameRecord) -> Result<()> {
        let bytes = serde_json::to_vec(&record).map_err(|error| invalid(reference.to_string(), error))?;
        self.write_whole(&self.name_path(reference), &bytes)
    }

    /// A small file that is there whole or not at all.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.blobs.temp_file()?;
        fs::write(file.path(), bytes).at("writing", file.path())?;
        file.as_file().sync_data().at("writing", file.path())?;
        file.persist(path).at("renaming to", path)?;
        Ok(())
    }

    /// Held while content is added (shared) or removed (alone).
    pub(crate) fn lock(&self, exclusive: bool) -> Result<File> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("opening", &path)?;
        if exclusive { file.lock() } else { file.lock_shared() }.at("locking", path)?;
        Ok(file)
    }

    /// Stores configuration and manifest over layers that are stored already, unpacks what isn't unpacked, and returns
    /// the manifest's digest.
    pub(crate) fn put_image(&self, config: &ImageConfig, layers: Vec<Descriptor>) -> Result<String> {
        let bytes = serde_json::to_vec(config).map_err(|error| invalid("image configuration", error))?;
        let config = Descriptor {
            media_type: CONFIG.to_string(),
            digest: self.blobs.put(&bytes)?,
            size: bytes.len() as u64,
            platform: None,
            annotations: Default::default(),
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_string()),
            config,
            layers,
            other: Default::default(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| invalid("image manifest", error))?;
        let digest = self.blobs.put(&bytes)?;
        self.unpack_layers(&manifest)?;
        Ok(digest)
    }

    /// Unpacks each layer that isn't yet, and checks it against the configuration.
    pub(crate) fn unpack_layers(&self, manifest: &Manifest) -> Result<()> {
        let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(invalid(
                &manifest.config.digest,
                format!(
                    "{} layers but {} diff ids",
                    manifest.layers.len(),
                    config.rootfs.diff_ids.len()
                ),
            ));
        }
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            self.unpack_layer(layer, diff_id)?;
        }
        Ok(())
    }

    /// Unpacks a layer of an image that is being built, whose tar is not compressed.
    pub(crate) fn unpack_one(&self, layer: &Descriptor) -> Result<PathBuf> {
        self.unpack_layer(layer, &layer.digest)?;
        self.layer_dir(&layer.digest)
    }

    fn unpack_layer(&self, layer: &Descriptor, diff_id: &str) -> Result<()> {
        if self.layer_dir(diff_id)?.exists() {
            return Ok(());
        }
        let temp = self.temp_layer()?;
        let found = unpack::unpack(self.blobs.open_blob(&layer.digest)?, temp.path(), Sync::Now)?;
        self.publish_layer(&temp, &found, diff_id)
    }

    /// Where a layer is unpacked before it gets its name.
    pub(crate) fn temp_layer(&self) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(self.blobs.temp_dir())
            .at("making a directory in", self.blobs.temp_dir())
    }

    /// Gives an unpacked layer its name, if its content has the digest that it should have.
    pub(crate) fn publish_layer(&self, temp: &tempfile::TempDir, found: &str, diff_id: &str) -> Result<()> {
        if found != diff_id {
            return Err(Error::Digest {
                digest: diff_id.to_string(),
                found: found.to_string(),
            });
        }
        let target = self.layer_dir(diff_id)?;
        match fs::rename(temp.path(), &target) {
            // Another process was faster, with the same content.
            Err(_) if target.exists() => Ok(()),
            other => other.at("renaming to", target),
        }
    }

    pub(crate) fn layer_dir(&self, diff_id: &str) -> Result<PathBuf> {
        Ok(self.root.join("layers").join(hex_of(diff_id)?))
    }

    pub(crate) fn record_of(&self, reference: &Reference) -> Result<Option<NameRecord>> {
        if let Some(record) = self.read_record(&self.name_path(reference))? {
            return Ok(Some(record));
        }
        let Some(digest) = reference.digest() else {
            return Ok(None);
        };
        // Pulled by a tag and asked for by the digest.
        let same = |record: &NameRecord| {
            let name = record.name.parse::<Reference>();
            name.is_ok_and(|r| r.repository() == reference.repository() && r.registry() == reference.registry())
        };
        let records = self.records()?;
        Ok(records.into_iter().find(|record| record.is(digest) && same(record)))
    }

    pub(crate) fn read_record(&self, path: &Path) -> Result<Option<NameRecord>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| invalid(path.display().to_string(), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("reading", path),
        }
    }

    fn by_id(&self, id: &str) -> Result<Option<Image>> {
        for record in self.records()? {
            let Some(manifest) = self.manifest(&record)? else {
                continue;
            };
            if manifest.config.digest == id || record.is(id) {
                return self.load(record.name.parse()?, record);
            }
        }
        Ok(None)
    }

    /// A name's manifest; `None` when a power cut took it, so that the name means nothing any more.
    pub(crate) fn manifest(&self, record: &NameRecord) -> Result<Option<Manifest>> {
        if !self.blobs.has(&record.manifest) {
            return Ok(None);
        }
        let manifest: Manifest = self.blobs.json(&record.manifest)?;
        Ok(Some(manifest).filter(|manifest| self.blobs.has(&manifest.config.digest)))
    }

    fn load(&self, reference: Reference, record: NameRecord) -> Result<Option<Image>> {
        let Some(manifest) = self.manifest(&record)? else {
            return Ok(None);
        };
        let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
        let mut layers = Vec::with_capacity(config.rootfs.diff_ids.len());
        for diff_id in config.rootfs.diff_ids.iter().rev() {
            let layer = self.layer_dir(diff_id)?;
            if !layer.exists() {
                return Ok(None);
            }
            layers.push(layer);
        }
        Ok(Some(Image {
            reference,
            target: record.target().to_string(),
            digest: record.manifest,
            origin: record.origin,
            id: manifest.config.digest,
            config,
            layers,
        }))
    }

    pub(crate) fn name_path(&self, reference: &Reference) -> PathBuf {
        let mut encoded = String::new();
        for byte in reference.to_string().bytes() {
            match byte {
                b'/' => encoded.push_str("%2F"),
                b'%' => encoded.push_str("%25"),
                other => encoded.push(other as char),
            }
        }
        self.root.join("names").join(encoded)
    }

    pub(crate) fn records(&self) -> Result<Vec<NameRecord>> {
        let dir = self.root.join("names");
        let mut records = Vec::new();
        for entry in fs::read_dir(&dir).at("reading", &dir)? {
            // One that was removed meanwhile isn't there.
            records.extend(self.read_record(&entry.at("reading", &dir)?.path())?);
        }
        Ok(records)
    }
}
