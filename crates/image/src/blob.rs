//! Content-addressed files: what a blob's name promises is checked before it gets that name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::error::{At as _, Error, Result, invalid};

/// The blobs of a store, `blobs/sha256/<hex>` as in an OCI layout.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    dir: PathBuf,
    temp: PathBuf,
}

impl Blobs {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let dir = root.join("blobs/sha256");
        let temp = root.join("tmp");
        fs::create_dir_all(&dir).at("making", &dir)?;
        fs::create_dir_all(&temp).at("making", &temp)?;
        Ok(Self { dir, temp })
    }

    /// Where partly written files live, on the same file system as the blobs.
    pub(crate) fn temp_dir(&self) -> &Path {
        &self.temp
    }

    pub(crate) fn path(&self, digest: &str) -> Result<PathBuf> {
        Ok(self.dir.join(hex_of(digest)?))
    }

    pub(crate) fn has(&self, digest: &str) -> bool {
        self.path(digest).is_ok_and(|path| path.exists())
    }

    pub(crate) fn remove(&self, digest: &str) -> Result<()> {
        let path = self.path(digest)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("removing", path),
            _ => Ok(()),
        }
    }

    /// All digests there are.
    pub(crate) fn all(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).at("reading", &self.dir)? {
            let name = entry.at("reading", &self.dir)?.file_name();
            found.push(format!("sha256:{}", name.to_string_lossy()));
        }
        Ok(found)
    }

    pub(crate) fn open_blob(&self, digest: &str) -> Result<File> {
        let path = self.path(digest)?;
        File::open(&path).at("opening", path)
    }

    /// A blob that is a JSON document.
    pub(crate) fn json<T: DeserializeOwned>(&self, digest: &str) -> Result<T> {
        let path = self.path(digest)?;
        let bytes = fs::read(&path).at("reading", &path)?;
        serde_json::from_slice(&bytes).map_err(|error| invalid(digest, error))
    }

    /// Writes a small blob and returns its digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<String> {
        let digest = digest_of(bytes);
        if !self.has(&digest) {
            let mut file = self.temp_file()?;
            file.write_all(bytes).at("writing", file.path())?;
            self.publish(file, &digest)?;
        }
        Ok(digest)
    }

    /// Takes over what `source` holds, after checking that it is what `digest` says.
    pub(crate) fn ingest(&self, source: &Path, digest: &str) -> Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        let mut input = File::open(source).at("opening", source)?;
        let mut output = Hashing::new(self.temp_file()?);
        io::copy(&mut input, &mut output).at("copying", source)?;
        let (file, found) = output.finish();
        if found != digest {
            return Err(Error::Digest {
                digest: digest.to_string(),
                found,
            });
        }
        self.publish(file, digest)
    }

    pub(crate) fn temp_file(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(&self.temp).at("making a file in", &self.temp)
    }

    /// Gives a finished file its name. It is on the disk before it has the name.
    pub(crate) fn publish(&self, file: NamedTempFile, digest: &str) -> Result<()> {
        let path = self.path(digest)?;
        file.as_file().sync_data().at("writing", file.path())?;
        file.persist(&path).at("renaming to", path)?;
        Ok(())
    }
}

/// The hexadecimal part of a `sha256:` digest; anything else, a path for example, is refused.
pub(crate) fn hex_of(digest: &str) -> Result<&str> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| invalid(format!("digest {digest:?}"), "it is not sha256:<64 hex digits>"))
}

/// `sha256:...` of the bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A writer or reader that hashes what passes.
pub(crate) struct Hashing<T> {
    inner: T,
    hash: Sha256,
    length: u64,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            length: 0,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What was wrapped, and the digest of all that passed.
    pub(crate) fn finish(self) -> (T, String) {
        (self.inner, format!("sha256:{}", hex::encode(self.hash.finalize())))
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.saw(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.saw(&buffer[..read]);
        Ok(read)
    }
}
