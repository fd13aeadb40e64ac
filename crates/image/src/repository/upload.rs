//! A blob that is being pushed, in one piece or in many, over restarts.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::Repository;
use crate::blob::Hashing;
use crate::error::{At as _, Error, Result};
use crate::store::Store;

/// A blob on its way in.
pub struct Upload {
    store: Store,
    path: PathBuf,
    output: Hashing<File>,
}

impl Store {
    /// Begins an upload under an id that the caller has made.
    pub fn new_upload(&self, id: &str) -> Result<Upload> {
        let path = self.upload_path(id);
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .at("creating", &path)?;
        Ok(Upload {
            store: self.clone(),
            path,
            output: Hashing::new(file),
        })
    }

    /// Goes on with an upload that an earlier process began; `None` when there is none.
    pub fn open_upload(&self, id: &str) -> Result<Option<Upload>> {
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Ok(None);
        }
        let path = self.upload_path(id);
        let mut file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("opening", path),
        };
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut file, &mut hashing).at("reading", &path)?;
        Ok(Some(Upload {
            store: self.clone(),
            path,
            output: hashing.with(file),
        }))
    }

    fn upload_path(&self, id: &str) -> PathBuf {
        self.blobs.temp_dir().join(format!("upload-{id}"))
    }
}

impl Upload {
    /// Bytes that are here.
    pub fn length(&self) -> u64 {
        self.output.length()
    }

    /// Adds a piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.output.write_all(piece).at("writing", &self.path)
    }

    /// Ends it: the blob is the repository's, if it is what its digest says.
    pub fn commit(self, repository: &Repository, digest: &str) -> Result<()> {
        let Self { store, path, output } = self;
        let by_sha256 = digest.starts_with("sha256:");
        let (file, mut found) = output.finish();
        if !by_sha256 {
            let mut hashing = Hashing::of(io::sink(), digest)?;
            let mut whole = File::open(&path).at("reading", &path)?;
            io::copy(&mut whole, &mut hashing).at("reading", &path)?;
            found = hashing.finish().1;
        }
        if found != digest {
            fs::remove_file(&path).at("removing", &path)?;
            return Err(Error::Digest {
                digest: digest.to_string(),
                found,
            });
        }
        let _lock = store.lock(false)?;
        let blob = store.blobs.path(digest)?;
        file.sync_data().at("writing", &path)?;
        fs::rename(&path, &blob).at("renaming to", blob)?;
        repository.add_blob(digest)
    }

    /// Gives it up.
    pub fn cancel(self) -> Result<()> {
        fs::remove_file(&self.path).at("removing", &self.path)
    }
}
