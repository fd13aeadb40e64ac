//! A directory for all that a build has on the disk while it runs. It is locked, so that what a killed build has left
//! can be told from what a running one needs.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{At as _, Result};
use crate::store::Store;

/// A build's room. Dropped without [`Room::remove`] it is found again by [`Store::stale_rooms`].
#[derive(Debug)]
pub struct Room {
    dir: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl Room {
    /// Where it is; there is a directory `files` in it that is [`Options::workspace`](super::Options::workspace).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its name, which no other room of this store has at the time.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Removes it with all that is in it.
    pub fn remove(self) -> Result<()> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).at("removing", &self.dir)?;
        }
        fs::remove_file(&self.lock).at("removing", &self.lock)
    }
}

impl Store {
    /// Makes a room for a build.
    pub fn new_room(&self) -> Result<Room> {
        let rooms = rooms(self);
        fs::create_dir_all(&rooms).at("making", &rooms)?;
        loop {
            let file = tempfile::Builder::new()
                .prefix("b")
                .suffix(".lock")
                .rand_bytes(5)
                .tempfile_in(&rooms)
                .at("making a file in", &rooms)?;
            let (held, lock) = file
                .keep()
                .map_err(|error| error.error)
                .at("making a file in", &rooms)?;
            held.lock().at("locking", &lock)?;
            // One who looked for stale rooms may just have taken it away.
            if !is_same(&held, &lock) {
                continue;
            }
            let dir = lock.with_extension("");
            let files = dir.join("files");
            fs::create_dir_all(&files).at("making", &files)?;
            return Ok(Room { dir, lock, _held: held });
        }
    }

    /// The rooms of builds that were killed.
    pub fn stale_rooms(&self) -> Result<Vec<Room>> {
        let mut stale = Vec::new();
        for entry in fs::read_dir(rooms(self)).into_iter().flatten() {
            let lock = entry.at("reading", rooms(self))?.path();
            if lock.extension().is_none_or(|extension| extension != "lock") {
                continue;
            }
            let Ok(held) = File::options().write(true).open(&lock) else {
                continue;
            };
            if held.try_lock().is_ok() && is_same(&held, &lock) {
                stale.push(Room {
                    dir: lock.with_extension(""),
                    lock,
                    _held: held,
                });
            }
        }
        Ok(stale)
    }
}

fn rooms(store: &Store) -> PathBuf {
    store.root().join("build/rooms")
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rooms_of_the_dead_are_stale() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (alive, dead) = (store.new_room().unwrap(), store.new_room().unwrap());
        assert!(store.stale_rooms().unwrap().is_empty());
        let name = dead.name();
        drop(dead);
        let stale = store.stale_rooms().unwrap();
        assert_eq!(stale.iter().map(Room::name).collect::<Vec<_>>(), [name]);
        stale.into_iter().for_each(|room| room.remove().unwrap());
        alive.remove().unwrap();
        assert_eq!(fs::read_dir(rooms(&store)).unwrap().count(), 0);
    }
}
