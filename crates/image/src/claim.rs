//! Claims: content that a pull has brought, or will bring, before a name leads to it and before it is on the disk.
//!
//! A pull ends when its files are in place; that they are on the disk is seen to after. Should the machine lose its
//! power in between, the claim is found at the next start, and what it lists is taken away instead of trusted.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{At as _, Result, invalid};
use crate::store::Store;

/// Content that must not be collected, and isn't on the disk yet. Dropping it gives the claim up.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    root: PathBuf,
    /// Locked as long as the process lives.
    _file: File,
}

/// What a claim's file says. Released format: fields are added, never changed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClaimRecord {
    /// The kernel's boot id.
    boot: String,
    pub(crate) blobs: Vec<String>,
    /// By the digest of their tars.
    pub(crate) layers: Vec<String>,
}

impl Claim {
    /// Brings what is claimed to the disk, and gives the claim up.
    pub(crate) fn settle(self) -> Result<()> {
        let root = File::open(&self.root).at("opening", &self.root)?;
        rustix::fs::syncfs(&root).at("writing", &self.root)?;
        fs::remove_file(&self.path).at("removing", &self.path)
    }
}

impl Store {
    /// Claims content before it is looked for, so that nothing of it is collected meanwhile.
    pub(crate) fn claim(&self, blobs: Vec<String>, layers: Vec<String>) -> Result<Claim> {
        let _lock = self.lock(false)?;
        let record = ClaimRecord {
            boot: boot_id(),
            blobs,
            layers,
        };
        let bytes = serde_json::to_vec(&record).map_err(|error| invalid("claim", error))?;
        let file = self.blobs.temp_file()?;
        fs::write(file.path(), bytes).at("writing", file.path())?;
        let handle = file.as_file().try_clone().at("opening", file.path())?;
        handle.sync_data().at("writing", file.path())?;
        handle.lock().at("locking", file.path())?;
        let name = file.path().file_name().unwrap_or_default().to_os_string();
        let path = self.claims_dir().join(name);
        file.persist(&path).at("renaming to", &path)?;
        Ok(Claim {
            path,
            root: self.root.clone(),
            _file: handle,
        })
    }

    /// After a start of the machine: takes away what was claimed before it and may be damaged.
    pub(crate) fn recover(&self) -> Result<()> {
        let boot = boot_id();
        let foreign = |store: &Self| -> Result<Vec<(PathBuf, ClaimRecord)>> {
            let all = store.claims()?;
            Ok(all.into_iter().filter(|(_, record)| record.boot != boot).collect())
        };
        if foreign(self)?.is_empty() {
            return Ok(());
        }
        let _lock = self.lock(true)?;
        for (path, record) in foreign(self)? {
            for digest in &record.blobs {
                self.blobs.remove(digest)?;
            }
            for layer in &record.layers {
                let dir = self.layer_dir(layer)?;
                if dir.exists() {
                    fs::remove_dir_all(&dir).at("removing", dir)?;
                }
            }
            // A beginning of a blob has no digest to check until it is whole; better from the start.
            let ingest = self.root.join("ingest");
            for entry in fs::read_dir(&ingest).at("reading", &ingest)? {
                let partial = entry.at("reading", &ingest)?.path();
                fs::remove_file(&partial).at("removing", partial)?;
            }
            fs::remove_file(&path).at("removing", path)?;
        }
        Ok(())
    }

    /// The claims of processes that live. Those of others are given up. The lock is held alone.
    pub(crate) fn living_claims(&self) -> Result<Vec<ClaimRecord>> {
        let mut living = Vec::new();
        for (path, record) in self.claims()? {
            let Ok(file) = File::open(&path) else { continue };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => living.push(record),
                Err(TryLockError::Error(error)) => return Err(error).at("locking", path),
                // Its process died: names may lead to its content, which has to be on the disk first.
                Ok(()) => Claim {
                    path,
                    root: self.root.clone(),
                    _file: file,
                }
                .settle()?,
            }
        }
        Ok(living)
    }

    fn claims(&self) -> Result<Vec<(PathBuf, ClaimRecord)>> {
        let dir = self.claims_dir();
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).at("reading", &dir)? {
            let path = entry.at("reading", &dir)?.path();
            // One that ended meanwhile isn't there; one that can't be read lists nothing to save.
            if let Ok(bytes) = fs::read(&path) {
                match serde_json::from_slice(&bytes) {
                    Ok(record) => found.push((path, record)),
                    Err(error) => return Err(invalid(path.display().to_string(), error)),
                }
            }
        }
        Ok(found)
    }

    fn claims_dir(&self) -> PathBuf {
        self.root.join("claims")
    }
}

fn boot_id() -> String {
    let text = fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    text.trim().to_string()
}
