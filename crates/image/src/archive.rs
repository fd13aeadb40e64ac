//! Import of OCI layouts and docker-save archives, as directories or tars.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use tar::{Archive, EntryType};

use crate::blob::{Hashing, digest_of};
use crate::error::{At as _, Error, Result, invalid};
use crate::reference::Reference;
use crate::spec::{
    CONFIG, Descriptor, Index, LAYER_TAR, LAYER_TAR_GZIP, LAYER_TAR_ZSTD, MANIFEST, Manifest, host_platform,
};
use crate::store::Store;
use crate::unpack::decompress;

/// An image that an import brought.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its name.
    pub name: Reference,
    /// Its manifest's digest.
    pub digest: String,
}

/// Docker's own table of contents, `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Store {
    /// Imports every image of an OCI layout or a docker-save archive: a directory, or a tar that may be compressed.
    /// `name` is for an archive of one image, and goes before the names that it brings.
    pub fn import(&self, source: &Path, name: Option<&Reference>) -> Result<Vec<Imported>> {
        if source.is_dir() {
            return self.import_directory(source, name);
        }
        self.import_stream(File::open(source).at("opening", source)?, name)
    }

    /// As [`Store::import`], from a stream such as standard input.
    pub fn import_stream(&self, input: impl Read, name: Option<&Reference>) -> Result<Vec<Imported>> {
        let temp = tempfile::tempdir_in(self.blobs.temp_dir()).at("making a directory in", self.blobs.temp_dir())?;
        spool(input, temp.path())?;
        self.import_directory(temp.path(), name)
    }

    fn import_directory(&self, dir: &Path, name: Option<&Reference>) -> Result<Vec<Imported>> {
        let _lock = self.lock(false)?;
        let found = if dir.join("index.json").exists() {
            self.import_layout(dir, name.is_some())?
        } else if dir.join("manifest.json").exists() {
            self.import_saved(dir)?
        } else {
            let reason = "it has neither index.json (OCI layout) nor manifest.json (docker save)";
            return Err(invalid(dir.display().to_string(), reason));
        };
        let images = match name {
            Some(name) => {
                let mut digests: Vec<String> = found.into_iter().map(|(_, digest)| digest).collect();
                digests.dedup();
                let [digest] = digests.as_slice() else {
                    let reason = format!(
                        "it has {} images, so one name is not enough; leave the name out",
                        digests.len()
                    );
                    return Err(invalid(dir.display().to_string(), reason));
                };
                vec![Imported {
                    name: name.clone(),
                    digest: digest.clone(),
                }]
            }
            None => found
                .into_iter()
                .map(|(name, digest)| match name {
                    Some(name) => Ok(Imported { name, digest }),
                    None => Err(invalid(
                        dir.display().to_string(),
                        "an image in it has no name; give one with --name",
                    )),
                })
                .collect::<Result<_>>()?,
        };
        for image in &images {
            self.set_name(&image.name, &image.digest)?;
        }
        Ok(images)
    }

    fn import_layout(&self, dir: &Path, named: bool) -> Result<Vec<(Option<Reference>, String)>> {
        let index: Index = read_json(&dir.join("index.json"))?;
        let host = host_platform();
        let fits = |d: &Descriptor| d.platform.as_ref().is_none_or(|p| host.runs(p));
        // A layout may list the variants of one image itself instead of in an index of its own.
        let several = index.manifests.len() > 1 && named;
        let mut found = Vec::new();
        for descriptor in index.manifests.iter().filter(|d| !several || fits(d)) {
            let manifest = self.choose(dir, descriptor)?;
            self.take_manifest(dir, &manifest)?;
            found.push((layout_name(descriptor)?, manifest.digest));
        }
        Ok(found)
    }

    /// Follows an index to the variant for this machine.
    fn choose(&self, dir: &Path, descriptor: &Descriptor) -> Result<Descriptor> {
        if !descriptor.media_type.contains("index") && !descriptor.media_type.contains("manifest.list") {
            return Ok(descriptor.clone());
        }
        let index: Index = read_json(&layout_blob(dir, &descriptor.digest)?)?;
        let host = host_platform();
        let wanted = index
            .manifests
            .iter()
            .find(|d| d.platform.as_ref().is_none_or(|p| host.runs(p)));
        wanted.cloned().ok_or_else(|| {
            let show = |d: &Descriptor| d.platform.as_ref().map(ToString::to_string);
            Error::Platform {
                wanted: host.to_string(),
                found: index.manifests.iter().filter_map(show).collect::<Vec<_>>().join(", "),
            }
        })
    }

    fn take_manifest(&self, dir: &Path, descriptor: &Descriptor) -> Result<()> {
        self.blobs
            .ingest(&layout_blob(dir, &descriptor.digest)?, &descriptor.digest)?;
        let manifest: Manifest = self.blobs.json(&descriptor.digest)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.blobs.ingest(&layout_blob(dir, &blob.digest)?, &blob.digest)?;
        }
        self.unpack_layers(&manifest)
    }

    fn import_saved(&self, dir: &Path) -> Result<Vec<(Option<Reference>, String)>> {
        let saved: Vec<SavedImage> = read_json(&dir.join("manifest.json"))?;
        let mut found = Vec::new();
        for image in saved {
            let config = fs::read(inside(dir, &image.config)?).at("reading", dir.join(&image.config))?;
            let mut layers = Vec::new();
            for layer in &image.layers {
                layers.push(self.take_saved_layer(&inside(dir, layer)?)?);
            }
            let size = config.len() as u64;
            let digest = self.blobs.put(&config)?;
            debug_assert_eq!(digest, digest_of(&config));
            let config = Descriptor {
                media_type: CONFIG.to_string(),
                digest,
                size,
                platform: None,
                annotations: BTreeMap::new(),
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
            let tags = image.repo_tags.unwrap_or_default();
            if tags.is_empty() {
                found.push((None, digest.clone()));
            }
            for tag in tags {
                found.push((Some(tag.parse()?), digest.clone()));
            }
        }
        Ok(found)
    }

    /// Docker's archive names a layer by a path, not by its digest.
    fn take_saved_layer(&self, path: &Path) -> Result<Descriptor> {
        let mut input = Hashing::new(File::open(path).at("opening", path)?);
        io::copy(&mut input, &mut io::sink()).at("reading", path)?;
        let size = input.length();
        let (_, digest) = input.finish();
        self.blobs.ingest(path, &digest)?;
        let mut magic = [0; 4];
        let have = File::open(path)
            .and_then(|mut file| file.read(&mut magic))
            .at("reading", path)?;
        let media_type = match magic {
            [0x1f, 0x8b, ..] if have >= 2 => LAYER_TAR_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => LAYER_TAR_ZSTD,
            _ => LAYER_TAR,
        };
        Ok(Descriptor {
            media_type: media_type.to_string(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        })
    }
}

/// A layout names images by annotations: containerd's full name, or the specification's, which may be the tag alone.
fn layout_name(descriptor: &Descriptor) -> Result<Option<Reference>> {
    let full = descriptor.annotations.get("io.containerd.image.name");
    let name = full.or_else(|| descriptor.annotations.get("org.opencontainers.image.ref.name"));
    match name {
        Some(name) if full.is_some() || name.contains(['/', ':']) => Ok(Some(name.parse()?)),
        _ => Ok(None),
    }
}

/// Writes an archive's files into a directory of ours. Nothing but plain files and links to files of the archive is
/// of use in one, so nothing else is taken.
fn spool(input: impl Read, dir: &Path) -> Result<()> {
    let mut archive = Archive::new(decompress(input).at("reading the archive for", dir)?);
    let mut links = Vec::new();
    for entry in archive.entries().at("reading the archive for", dir)? {
        let mut entry = entry.at("reading the archive for", dir)?;
        let path = entry.path().at("reading the archive for", dir)?.into_owned();
        let Ok(target) = inside(dir, &path.to_string_lossy()) else {
            return Err(invalid(
                path.display().to_string(),
                "an archive's path must stay inside of it",
            ));
        };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).at("making", parent)?;
                }
                let mut file = File::create(&target).at("creating", &target)?;
                io::copy(&mut entry, &mut file).at("writing", &target)?;
            }
            EntryType::Symlink | EntryType::Link => {
                if let Ok(Some(link)) = entry.link_name() {
                    // Old docker archives link a repeated layer to its first copy.
                    let base = if entry.header().entry_type() == EntryType::Link {
                        Path::new("")
                    } else {
                        path.parent().unwrap_or(Path::new(""))
                    };
                    links.push((target, normal(&base.join(link))));
                }
            }
            _ => {}
        }
    }
    for (target, link) in links {
        let source = dir.join(link);
        if source.is_file() && !target.exists() {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).at("making", parent)?;
            }
            fs::hard_link(&source, &target).at("linking", target)?;
        }
    }
    Ok(())
}

fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// A path of the archive below `dir`; one that would leave it is an error.
fn inside(dir: &Path, path: &str) -> Result<PathBuf> {
    let plain = |c: &Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || !Path::new(path).components().all(|c| plain(&c)) {
        return Err(invalid(path, "it leaves the archive"));
    }
    Ok(dir.join(path))
}

fn layout_blob(dir: &Path, digest: &str) -> Result<PathBuf> {
    Ok(dir.join("blobs/sha256").join(crate::blob::hex_of(digest)?))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).at("reading", path)?;
    serde_json::from_slice(&bytes).map_err(|error| invalid(path.display().to_string(), error))
}
