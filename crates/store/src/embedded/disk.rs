//! The real file system under the store, and the lock that keeps a second server out.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::media::{File, Media};
use crate::Error;

const LOCK: &str = "LOCK";

/// A directory of this machine.
pub(crate) struct Disk {
    dir: PathBuf,
}

/// Keeps other processes out of a directory for as long as it lives; the kernel unlocks it when the process ends,
/// however it ends.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] fs::File);

impl Disk {
    /// Makes the directory when there is none, and takes its lock.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Lock), Error> {
        let failed = |what: &str, source: io::Error| Error::Io {
            what: format!("{what} {}", dir.display()),
            source,
        };
        fs::create_dir_all(dir).map_err(|error| failed("making", error))?;
        let lock = lock(dir).map_err(|error| failed("locking", error))?;
        match lock {
            Ok(lock) => Ok((Self { dir: dir.to_owned() }, Lock(lock))),
            Err(pid) => Err(Error::Locked {
                dir: dir.to_owned(),
                pid,
            }),
        }
    }
}

/// The locked file with this process's pid in it, or the pid of who has it.
fn lock(dir: &Path) -> io::Result<Result<fs::File, u32>> {
    let path = dir.join(LOCK);
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text = fs::read_to_string(&path)?;
            return Ok(Err(text.trim().parse().unwrap_or_default()));
        }
        Err(errno) => return Err(errno.into()),
    }
    // On a full disk the lock holds all the same; only its owner's name is missing.
    let _best_effort = file
        .set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    Ok(Ok(file))
}

impl Media for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().filter(|name| *name != LOCK) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.dir.join(name))?,
        ))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Arc::new(options.open(self.dir.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        fs::File::open(&self.dir)?.sync_all()
    }
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match std::os::unix::fs::FileExt::read_at(self, &mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}
