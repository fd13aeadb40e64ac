//! The image store: names to manifests, blobs, and layers unpacked once for all images that share them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::blob::{Blobs, hex_of};
use crate::error::{At as _, Error, Result, invalid};
use crate::reference::Reference;
use crate::spec::{CONFIG, Descriptor, ImageConfig, MANIFEST, Manifest};
use crate::unpack;

/// A directory of images:
///
/// ```text
/// blobs/sha256/HEX      manifests, configurations and layers by their digest
/// layers/HEX/           a layer unpacked, by the digest of its tar
/// names/NAME            what a name means, NAME percent-encoded
/// tmp/                  what is being written
/// build/                what builds keep: their cache, cache mounts, and rooms of builds under way
/// lock                  shared while content is added, exclusive while it is removed
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    pub(crate) blobs: Blobs,
}

/// An image that is ready to run.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name that was asked for, normalised.
    pub reference: Reference,
    /// The manifest's digest.
    pub digest: String,
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
}

/// What a file in `names/` says. Released format: fields are added, never changed.
#[derive(Serialize, Deserialize)]
struct NameRecord {
    name: String,
    manifest: String,
}

impl Store {
    /// Opens the store in `root` and makes it if it isn't there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let blobs = Blobs::open(&root)?;
        for part in ["layers", "names"] {
            let dir = root.join(part);
            fs::create_dir_all(&dir).at("making", dir)?;
        }
        Ok(Self { root, blobs })
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The image behind a name; `None` when there is none. A digest as the name's end must match, and an image's id
    /// (`sha256:...`) is understood too.
    pub fn resolve(&self, name: &str) -> Result<Option<Image>> {
        if hex_of(name).is_ok() {
            return self.by_id(name);
        }
        let reference: Reference = name.parse()?;
        match self.manifest_digest(&reference)? {
            Some(digest) => self.load(reference, digest).map(Some),
            None => Ok(None),
        }
    }

    /// All names, sorted.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let mut summaries = Vec::new();
        for record in self.records()? {
            let manifest: Manifest = self.blobs.json(&record.manifest)?;
            let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
            let size = manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
            summaries.push(Summary {
                name: record.name,
                digest: record.manifest,
                id: manifest.config.digest,
                size,
                created: config.created,
            });
        }
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(summaries)
    }

    /// Takes a name away, and the content that no other name needs, except the layers for which `in_use` is true
    /// (a container runs on them). Returns how many bytes of blobs went.
    pub fn remove(&self, name: &str, in_use: impl Fn(&Path) -> bool) -> Result<u64> {
        let _lock = self.lock(true)?;
        let reference: Reference = name.parse()?;
        let path = self.name_path(&reference);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound(name.to_string())),
            other => other.at("removing", path)?,
        }
        self.collect(in_use)
    }

    /// Gives an image a name; content first, name last.
    pub(crate) fn set_name(&self, reference: &Reference, manifest: &str) -> Result<()> {
        let record = NameRecord {
            name: reference.to_string(),
            manifest: manifest.to_string(),
        };
        let bytes = serde_json::to_vec(&record).map_err(|error| invalid(reference.to_string(), error))?;
        let file = self.blobs.temp_file()?;
        fs::write(file.path(), bytes).at("writing", file.path())?;
        file.as_file().sync_data().at("writing", file.path())?;
        let path = self.name_path(reference);
        file.persist(&path).at("renaming to", path)?;
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
        let target = self.layer_dir(diff_id)?;
        if target.exists() {
            return Ok(());
        }
        let temp = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(self.blobs.temp_dir())
            .at("making a directory in", self.blobs.temp_dir())?;
        let found = unpack::unpack(self.blobs.open_blob(&layer.digest)?, temp.path())?;
        if found != diff_id {
            return Err(Error::Digest {
                digest: diff_id.to_string(),
                found,
            });
        }
        match fs::rename(temp.path(), &target) {
            // Another process was faster, with the same content.
            Err(_) if target.exists() => Ok(()),
            other => other.at("renaming to", target),
        }
    }

    fn layer_dir(&self, diff_id: &str) -> Result<PathBuf> {
        Ok(self.root.join("layers").join(hex_of(diff_id)?))
    }

    fn manifest_digest(&self, reference: &Reference) -> Result<Option<String>> {
        if let Some(digest) = reference.digest() {
            let same = |name: &str| {
                name.parse::<Reference>()
                    .is_ok_and(|r| r.repository() == reference.repository())
            };
            let found = self
                .records()?
                .into_iter()
                .find(|record| record.manifest == digest && same(&record.name));
            return Ok(found.map(|record| record.manifest));
        }
        let path = self.name_path(reference);
        match fs::read(&path) {
            Ok(bytes) => {
                let record: NameRecord =
                    serde_json::from_slice(&bytes).map_err(|error| invalid(path.display().to_string(), error))?;
                Ok(Some(record.manifest))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("reading", path),
        }
    }

    fn by_id(&self, id: &str) -> Result<Option<Image>> {
        for record in self.records()? {
            let manifest: Manifest = self.blobs.json(&record.manifest)?;
            if manifest.config.digest == id || record.manifest == id {
                return self.load(record.name.parse()?, record.manifest).map(Some);
            }
        }
        Ok(None)
    }

    fn load(&self, reference: Reference, digest: String) -> Result<Image> {
        let manifest: Manifest = self.blobs.json(&digest)?;
        let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
        let mut layers = Vec::with_capacity(config.rootfs.diff_ids.len());
        for diff_id in config.rootfs.diff_ids.iter().rev() {
            layers.push(self.layer_dir(diff_id)?);
        }
        Ok(Image {
            reference,
            digest,
            id: manifest.config.digest,
            config,
            layers,
        })
    }

    fn name_path(&self, reference: &Reference) -> PathBuf {
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

    fn records(&self) -> Result<Vec<NameRecord>> {
        let dir = self.root.join("names");
        let mut records = Vec::new();
        for entry in fs::read_dir(&dir).at("reading", &dir)? {
            let path = entry.at("reading", &dir)?.path();
            let bytes = fs::read(&path).at("reading", &path)?;
            records.push(serde_json::from_slice(&bytes).map_err(|error| invalid(path.display().to_string(), error))?);
        }
        Ok(records)
    }

    /// Removes the blobs and layers that no name leads to. The lock is held alone.
    fn collect(&self, in_use: impl Fn(&Path) -> bool) -> Result<u64> {
        let mut blobs = std::collections::HashSet::new();
        let mut layers = std::collections::HashSet::new();
        for layer in crate::build::cache::layers(self)? {
            layers.insert(self.layer_dir(&layer)?);
            blobs.insert(layer);
        }
        for record in self.records()? {
            let manifest: Manifest = self.blobs.json(&record.manifest)?;
            let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
            for diff_id in &config.rootfs.diff_ids {
                layers.insert(self.layer_dir(diff_id)?);
            }
            blobs.extend(manifest.layers.into_iter().map(|layer| layer.digest));
            blobs.insert(manifest.config.digest);
            blobs.insert(record.manifest);
        }
        let mut freed = 0;
        for digest in self.blobs.all()? {
            if !blobs.contains(&digest) {
                freed += self
                    .blobs
                    .path(&digest)?
                    .metadata()
                    .map_or(0, |metadata| metadata.len());
                self.blobs.remove(&digest)?;
            }
        }
        let dir = self.root.join("layers");
        for entry in fs::read_dir(&dir).at("reading", &dir)? {
            let path = entry.at("reading", &dir)?.path();
            if !layers.contains(&path) && !in_use(&path) {
                fs::remove_dir_all(&path).at("removing", path)?;
            }
        }
        Ok(freed)
    }
}
