//! Content-addressed files: what a blob's name promises is checked before it gets that name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256, Sha512};
use tempfile::NamedTempFile;

use crate::error::{At as _, Error, Result, invalid};

/// The algorithms of digests, as in `blobs/ALGORITHM`.
const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];

/// The blobs of a store, `blobs/<algorithm>/<hex>` as in an OCI layout.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    dir: PathBuf,
    temp: PathBuf,
}

impl Blobs {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let dir = root.join("blobs");
        let temp = root.join("tmp");
        for algorithm in ALGORITHMS {
            let dir = dir.join(algorithm);
            fs::create_dir_all(&dir).at("making", dir)?;
        }
        fs::create_dir_all(&temp).at("making", &temp)?;
        Ok(Self { dir, temp })
    }

    /// Where partly written files live, on the same file system as the blobs.
    pub(crate) fn temp_dir(&self) -> &Path {
        &self.temp
    }

    pub(crate) fn path(&self, digest: &str) -> Result<PathBuf> {
        let (algorithm, hex) = parts_of(digest)?;
        Ok(self.dir.join(algorithm).join(hex))
    }

    /// Length of a blob; `None` when it isn't here.
    pub(crate) fn size(&self, digest: &str) -> Result<Option<u64>> {
        let path = self.path(digest)?;
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("reading", path),
        }
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
        for algorithm in ALGORITHMS {
            let dir = self.dir.join(algorithm);
            for entry in fs::read_dir(&dir).at("reading", &dir)? {
                let name = entry.at("reading", &dir)?.file_name();
                found.push(format!("{algorithm}:{}", name.to_string_lossy()));
            }
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

    /// Writes a small blob whose digest is known and right. It is on the disk when a claim on it is settled.
    pub(crate) fn put_as(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        let mut file = self.temp_file()?;
        file.write_all(bytes).at("writing", file.path())?;
        let path = self.path(digest)?;
        file.persist(&path).at("renaming to", path)?;
        Ok(())
    }

    /// As [`Blobs::put_as`], and on the disk at once.
    pub(crate) fn put_durably(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        let mut file = self.temp_file()?;
        file.write_all(bytes).at("writing", file.path())?;
        self.publish(file, digest)
    }

    /// Takes over what `source` holds, after checking that it is what `digest` says.
    pub(crate) fn ingest(&self, source: &Path, digest: &str) -> Result<()> {
        if self.has(digest) {
            return Ok(());
        }
        let mut input = File::open(source).at("opening", source)?;
        let mut output = Hashing::of(self.temp_file()?, digest)?;
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

/// Algorithm and hexadecimal part of a digest; anything else, a path for example, is refused.
pub(crate) fn parts_of(digest: &str) -> Result<(&'static str, &str)> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let found = digest.split_once(':').and_then(|(algorithm, hex)| {
        let algorithm = ALGORITHMS.into_iter().find(|known| *known == algorithm)?;
        let length = if algorithm == "sha256" { 64 } else { 128 };
        (hex.len() == length && hex.bytes().all(lower)).then_some((algorithm, hex))
    });
    found.ok_or_else(|| {
        invalid(
            format!("digest {digest:?}"),
            "it is neither sha256:<64 hex digits> nor sha512:<128 hex digits>",
        )
    })
}

/// `sha256:...` of the bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Whether the bytes are what the digest says, by the digest's own algorithm.
pub(crate) fn verify(bytes: &[u8], digest: &str) -> Result<()> {
    let mut hashing = Hashing::of(io::sink(), digest)?;
    hashing.saw(bytes);
    let (_, found) = hashing.finish();
    if found == digest {
        return Ok(());
    }
    Err(Error::Digest {
        digest: digest.to_string(),
        found,
    })
}

/// A writer or reader that hashes what passes.
pub(crate) struct Hashing<T> {
    inner: T,
    hash: Hash,
    length: u64,
}

enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self {
            inner,
            hash: Hash::Sha256(Sha256::new()),
            length: 0,
        }
    }

    /// By the algorithm of `digest`.
    pub(crate) fn of(inner: T, digest: &str) -> Result<Self> {
        let hash = match parts_of(digest)?.0 {
            "sha512" => Hash::Sha512(Box::default()),
            _ => Hash::Sha256(Sha256::new()),
        };
        Ok(Self { inner, hash, length: 0 })
    }

    /// The same hash over something else.
    pub(crate) fn with<U>(self, inner: U) -> Hashing<U> {
        Hashing {
            inner,
            hash: self.hash,
            length: self.length,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What was wrapped, and the digest of all that passed.
    pub(crate) fn finish(self) -> (T, String) {
        let digest = match self.hash {
            Hash::Sha256(hash) => format!("sha256:{}", hex::encode(hash.finalize())),
            Hash::Sha512(hash) => format!("sha512:{}", hex::encode(hash.finalize())),
        };
        (self.inner, digest)
    }

    /// Counts bytes that have passed elsewhere.
    pub(crate) fn saw(&mut self, bytes: &[u8]) {
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
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
