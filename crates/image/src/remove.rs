//! Names and content that go: removal by name or id, pruning, and the collection of what no name leads to.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::blob::hex_of;
use crate::error::{At as _, Error, Result};
use crate::reference::Reference;
use crate::spec::ImageConfig;
use crate::store::{NameRecord, Store};

/// A pull that was broken off can go on for this long.
const RESUMABLE: Duration = Duration::from_secs(24 * 3600);

/// What containers stand on, to be asked before something is removed.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Each container's layers, topmost first.
    roots: Vec<Vec<PathBuf>>,
}

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The names that are gone.
    pub names: Vec<String>,
    /// Bytes of blobs that went with them.
    pub freed: u64,
}

impl InUse {
    /// From each container's layers, topmost first.
    pub fn new(roots: Vec<Vec<PathBuf>>) -> Self {
        Self { roots }
    }

    /// The containers of this machine whose overlays stand on layers of `store`. A container's root is mounted in its
    /// own mount namespace, so each process's mounts are looked at.
    pub fn of_mounts(store: &Store) -> Self {
        let layers = store.root().join("layers");
        let mut roots = HashSet::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let mounts = fs::read_to_string(entry.path().join("mounts")).unwrap_or_default();
            for line in mounts.lines().filter(|line| line.contains(" overlay ")) {
                roots.extend(lowers(line, &layers));
            }
        }
        Self {
            roots: roots.into_iter().collect(),
        }
    }

    fn layer(&self, path: &Path) -> bool {
        self.roots.iter().flatten().any(|used| used == path)
    }

    fn image(&self, layers: &[PathBuf]) -> bool {
        !layers.is_empty() && self.roots.iter().any(|root| root == layers)
    }
}

/// The lower directories of a line of `/proc/PID/mounts`, when they are layers of ours.
fn lowers(line: &str, layers: &Path) -> Option<Vec<PathBuf>> {
    let options = line.split(' ').nth(3)?;
    let mut found = Vec::new();
    for option in options.split(',') {
        // One option with all of them, or one for each.
        let value = option
            .strip_prefix("lowerdir=")
            .or_else(|| option.strip_prefix("lowerdir+="));
        for part in value.into_iter().flat_map(|value| value.split(':')) {
            let hex = Path::new(part).file_name().unwrap_or_default();
            let path = Path::new(part);
            if path.parent() == Some(layers) || path.ends_with(Path::new("layers").join(hex)) && same(path, layers) {
                found.push(layers.join(hex));
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Whether a layer's path, as a mount names it, lies in the directory of layers.
fn same(path: &Path, layers: &Path) -> bool {
    let canonical = |path: &Path| fs::canonicalize(path).ok();
    path.parent().and_then(canonical) == canonical(layers)
}

impl Store {
    /// Takes a name away, or all names of an image that is given by its id or the beginning of one, and the content
    /// that no other name needs. What a container runs on is refused, unless forced: then the names go, and the
    /// layers stay until the container is gone.
    pub fn remove(&self, target: &str, in_use: &InUse, force: bool) -> Result<Removed> {
        let _lock = self.lock(true)?;
        let records = self.find(target)?;
        if !force {
            self.check_unused(&records, in_use)?;
        }
        let mut names = Vec::new();
        for record in records {
            let path = self.name_path(&record.name.parse()?);
            fs::remove_file(&path).at("removing", path)?;
            names.push(record.name);
        }
        let freed = self.collect(in_use)?;
        Ok(Removed { names, freed })
    }

    /// Removes content that no name leads to; with `all` also the names that no container uses. `keep` says which
    /// names stay nevertheless.
    pub fn prune(&self, all: bool, in_use: &InUse, keep: impl Fn(&str) -> bool) -> Result<Removed> {
        let _lock = self.lock(true)?;
        let mut names = Vec::new();
        if all {
            for record in self.records()? {
                if keep(&record.name) || self.layers_of(&record)?.is_some_and(|layers| in_use.image(&layers)) {
                    continue;
                }
                let path = self.name_path(&record.name.parse()?);
                fs::remove_file(&path).at("removing", path)?;
                names.push(record.name);
            }
        }
        let freed = self.collect(in_use)?;
        Ok(Removed { names, freed })
    }

    /// Gives an image one more name.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        let _lock = self.lock(false)?;
        let found = self.find(source)?;
        let record = found
            .into_iter()
            .next()
            .ok_or_else(|| Error::NotFound(source.to_string()))?;
        self.set_name(name, &record.manifest)
    }

    /// The names that a name, an id or the beginning of an id stands for; an error when there are none.
    fn find(&self, target: &str) -> Result<Vec<NameRecord>> {
        if let Ok(reference) = target.parse::<Reference>()
            && let Some(record) = self.record_of(&reference)?
        {
            return Ok(vec![record]);
        }
        let wanted = target.strip_prefix("sha256:").unwrap_or(target);
        let hexadecimal = wanted.len() >= 4 && wanted.bytes().all(|b| b.is_ascii_hexdigit());
        let mut by_id: BTreeMap<String, Vec<NameRecord>> = BTreeMap::new();
        for record in if hexadecimal { self.records()? } else { Vec::new() } {
            let Some(manifest) = self.manifest(&record)? else {
                continue;
            };
            let id = manifest.config.digest;
            if [&id, &record.manifest]
                .iter()
                .any(|d| hex_of(d).is_ok_and(|hex| hex.starts_with(wanted)))
            {
                by_id.entry(id).or_default().push(record);
            }
        }
        match by_id.len() {
            0 => Err(Error::NotFound(target.to_string())),
            1 => Ok(by_id.into_values().next().unwrap_or_default()),
            _ => Err(Error::Ambiguous(target.to_string())),
        }
    }

    /// An image may lose one of several names while a container runs on it, but not its last one.
    fn check_unused(&self, going: &[NameRecord], in_use: &InUse) -> Result<()> {
        let all = self.records()?;
        for record in going {
            let Some(layers) = self.layers_of(record)? else {
                continue;
            };
            let others = all
                .iter()
                .any(|other| other.manifest == record.manifest && going.iter().all(|gone| gone.name != other.name));
            if !others && in_use.image(&layers) {
                return Err(Error::InUse(record.name.clone()));
            }
        }
        Ok(())
    }

    /// Topmost first.
    fn layers_of(&self, record: &NameRecord) -> Result<Option<Vec<PathBuf>>> {
        let Some(manifest) = self.manifest(record)? else {
            return Ok(None);
        };
        let config: ImageConfig = self.blobs.json(&manifest.config.digest)?;
        let dirs = config
            .rootfs
            .diff_ids
            .iter()
            .rev()
            .map(|diff_id| self.layer_dir(diff_id));
        dirs.collect::<Result<Vec<_>>>().map(Some)
    }

    /// Removes the blobs and layers that nothing leads to: no name, no claim, no repository. The lock is held alone.
    fn collect(&self, in_use: &InUse) -> Result<u64> {
        let mut blobs = HashSet::new();
        let mut layers = HashSet::new();
        for record in self.records()? {
            layers.extend(self.layers_of(&record)?.into_iter().flatten());
            self.reach(record.target(), &mut blobs);
            self.reach(&record.manifest, &mut blobs);
        }
        for claim in self.living_claims()? {
            for layer in &claim.layers {
                layers.insert(self.layer_dir(layer)?);
            }
            blobs.extend(claim.blobs);
        }
        for layer in crate::build::cache::layers(self)? {
            layers.insert(self.layer_dir(&layer)?);
            blobs.insert(layer);
        }
        for digest in self.repository_roots()? {
            self.reach(&digest, &mut blobs);
        }
        let mut freed = 0;
        for digest in self.blobs.all()? {
            if !blobs.contains(&digest) {
                freed += self.blobs.size(&digest)?.unwrap_or(0);
                self.blobs.remove(&digest)?;
            }
        }
        let dir = self.root.join("layers");
        for entry in fs::read_dir(&dir).at("reading", &dir)? {
            let path = entry.at("reading", &dir)?.path();
            if !layers.contains(&path) && !in_use.layer(&path) {
                fs::remove_dir_all(&path).at("removing", path)?;
            }
        }
        Ok(freed + self.collect_partial()?)
    }

    /// Marks a blob and, when it is a manifest or an index, what it leads to.
    pub(crate) fn reach(&self, digest: &str, found: &mut HashSet<String>) {
        if !found.insert(digest.to_string()) {
            return;
        }
        // Documents are small; what is larger is a layer.
        if self.blobs.size(digest).ok().flatten().is_none_or(|size| size > 4 << 20) {
            return;
        }
        let Ok(document) = self.blobs.json::<Value>(digest) else {
            return;
        };
        let lists = ["manifests", "layers", "blobs"]
            .into_iter()
            .filter_map(|key| document.get(key)?.as_array());
        for descriptor in lists.flatten().chain(document.get("config")) {
            if let Some(digest) = descriptor.get("digest").and_then(Value::as_str) {
                self.reach(digest, found);
            }
        }
    }

    /// Beginnings of blobs, pulled or pushed, that nobody came back for.
    fn collect_partial(&self) -> Result<u64> {
        let dir = self.root.join("ingest");
        let mut freed = 0;
        let pushed = fs::read_dir(self.blobs.temp_dir()).at("reading", self.blobs.temp_dir())?;
        let pushed = pushed.filter(|entry| {
            entry
                .as_ref()
                .is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("upload-"))
        });
        for entry in fs::read_dir(&dir).at("reading", &dir)?.chain(pushed) {
            let entry = entry.at("reading", &dir)?;
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata
                .modified()
                .ok()
                .and_then(|time| SystemTime::now().duration_since(time).ok());
            if age.is_some_and(|age| age > RESUMABLE) {
                let path = entry.path();
                fs::remove_file(&path).at("removing", path)?;
                freed += metadata.len();
            }
        }
        Ok(freed)
    }
}
