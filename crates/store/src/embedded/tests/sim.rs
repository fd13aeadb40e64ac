//! A disk in memory that keeps what is durable apart from what is only written: it can lose power at any operation,
//! fill up, and lie about having synced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::embedded::media::{File, Media};
use crate::suite::Dice;

/// A disk; clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Sim(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    inodes: Vec<Inode>,
    /// So many operations until the power goes.
    fuse: Option<u64>,
    dead: bool,
    /// Syncs do nothing.
    lies: bool,
    /// So many bytes fit in all files.
    space: Option<usize>,
    syncs: u64,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: usize,
}

impl Sim {
    pub(super) fn media(&self) -> Arc<dyn Media> {
        Arc::new(self.clone())
    }

    pub(super) fn fuse(&self, operations: u64) {
        self.0.lock().fuse = Some(operations);
    }

    pub(super) fn lie(&self) {
        self.0.lock().lies = true;
    }

    pub(super) fn space(&self, bytes: Option<usize>) {
        self.0.lock().space = bytes;
    }

    pub(super) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// A disk with these files, all durable.
    pub(super) fn of(files: &[(String, Vec<u8>)]) -> Self {
        let mut world = World::default();
        for (name, bytes) in files {
            world.names.insert(name.clone(), world.inodes.len());
            world.inodes.push(Inode {
                now: bytes.clone(),
                durable: bytes.clone(),
                changes: Vec::new(),
            });
        }
        world.durable_names = world.names.clone();
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        // Under one lock: the store's own threads may remove files meanwhile.
        let world = self.0.lock();
        world
            .names
            .iter()
            .map(|(name, inode)| (name.clone(), world.inodes[*inode].now.clone()))
            .collect()
    }

    /// What the disk has after the power was gone: all that is durable, and of the rest what the dice say.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let mut world = self.0.lock();
        world.dead = true;
        let mut names = world.durable_names.clone();
        let kept = dice.below(world.name_changes.len() + 1);
        for change in &world.name_changes[..kept] {
            apply_name(&mut names, change);
        }
        let inodes = world.inodes.iter().map(|inode| inode.after_power_cut(dice)).collect();
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(World {
            names,
            durable_names,
            inodes,
            ..World::default()
        })))
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl Inode {
    fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let mut durable = self.durable.clone();
        let mut changes = self.changes.clone();
        match dice.below(4) {
            0 => changes.clear(),
            // The first so many, and the last of them cut at any byte.
            1 | 2 => {
                changes.truncate(dice.below(changes.len() + 1));
                if let Some(Change::Write(_, bytes)) = changes.last_mut() {
                    bytes.truncate(dice.below(bytes.len() + 1));
                }
            }
            // Sectors in any order: some are there, others are not.
            _ => changes = changes.into_iter().flat_map(|change| lottery(change, dice)).collect(),
        }
        for change in &changes {
            change.apply(&mut durable);
        }
        Self {
            now: durable.clone(),
            durable,
            changes: Vec::new(),
        }
    }
}

fn lottery(change: Change, dice: &mut Dice) -> Vec<Change> {
    const SECTOR: usize = 64;
    let Change::Write(offset, bytes) = change else {
        return vec![change];
    };
    let sectors = bytes.chunks(SECTOR).enumerate().filter(|_| dice.below(2) == 0);
    sectors
        .map(|(index, sector)| Change::Write(offset + index * SECTOR, sector.to_vec()))
        .collect()
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Truncate(len) => bytes.resize(*len, 0),
        }
    }
}

impl World {
    /// One operation: an error when the power is gone; `Ok(true)` when it goes in the middle of this one.
    fn operate(&mut self) -> io::Result<bool> {
        let off = || io::Error::new(ErrorKind::NotConnected, "the power is gone");
        if self.dead {
            return Err(off());
        }
        match &mut self.fuse {
            Some(0) => {
                self.dead = true;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn whole(&mut self) -> io::Result<()> {
        if self.operate()? {
            Err(io::Error::new(ErrorKind::NotConnected, "the power goes"))
        } else {
            Ok(())
        }
    }

    fn rename(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.name_changes.push(change);
    }
}

impl Media for Sim {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let world = self.0.lock();
        let inode = *world
            .names
            .get(name)
            .ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        Ok(Arc::new(SimFile {
            world: Arc::clone(&self.0),
            inode,
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.0.lock();
        world.whole()?;
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.rename(NameChange::Create(name.to_owned(), inode));
        Ok(Arc::new(SimFile {
            world: Arc::clone(&self.0),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.whole()?;
        world.rename(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.whole()?;
        if !world.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        world.rename(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.0.lock();
        world.whole()?;
        if !world.lies {
            world.durable_names = world.names.clone();
            world.name_changes.clear();
        }
        Ok(())
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.world.lock().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.world.lock();
        let bytes = world.inodes[self.inode].now.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let cut = world.operate()?;
        let used: usize = world.names.values().map(|inode| world.inodes[*inode].now.len()).sum();
        let grows = (offset as usize + bytes.len()).saturating_sub(world.inodes[self.inode].now.len());
        let full = world.space.is_some_and(|space| used + grows > space);
        // Interrupted by the end of the power or of the space: some of it is there.
        let written = if cut || full { &bytes[..bytes.len() / 2] } else { bytes };
        let change = Change::Write(offset as usize, written.to_vec());
        let inode = &mut world.inodes[self.inode];
        change.apply(&mut inode.now);
        inode.changes.push(change);
        match (cut, full) {
            (true, _) => Err(ErrorKind::NotConnected.into()),
            (_, true) => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.whole()?;
        world.syncs += 1;
        if !world.lies {
            let inode = &mut world.inodes[self.inode];
            for change in std::mem::take(&mut inode.changes) {
                change.apply(&mut inode.durable);
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.whole()?;
        let change = Change::Truncate(len as usize);
        let inode = &mut world.inodes[self.inode];
        change.apply(&mut inode.now);
        inode.changes.push(change);
        Ok(())
    }
}
