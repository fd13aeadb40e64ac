//! The ledger of slots and their addresses: an append-only file of lines, in a format of its own version.
//!
//! A line is written before the kernel is changed (`+ SLOT ADDRESS`), when the slot is complete (`= SLOT`) and when it
//! goes (`- SLOT`). It is not forced to disk: all that it describes is in the kernel and dies with the machine, so that
//! it only has to outlive this process. A line that was cut off is ignored. Never in here: what the kernel has.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use crate::config::SlotId;
use crate::error::Error;

const FIRST_LINE: &str = "gantry-network-ledger 1";
const FILE: &str = "ledger";
/// Who still talks to a pod that is gone shall not meet another one at its address.
const REST: Duration = Duration::from_secs(60);

/// One slot in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: Ipv4Addr,
    /// All of the slot is in the kernel.
    pub(crate) complete: bool,
}

/// The ledger, in memory and on disk.
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    range: Ipv4Net,
    entries: BTreeMap<SlotId, Entry>,
    /// Addresses in the order in which they were given back.
    resting: VecDeque<(Ipv4Addr, Instant)>,
    /// Where the search for a free address goes on, so that an address comes round again as late as can be.
    next: u32,
}

impl Ledger {
    /// Reads the ledger in a directory, or begins one.
    pub(crate) fn open(dir: &Path, range: Ipv4Net) -> Result<Ledger, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::file(dir, source))?;
        let path = dir.join(FILE);
        let (entries, last) = match fs::read_to_string(&path) {
            Ok(text) => read(&text).ok_or_else(|| Error::LedgerVersion(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(source) => return Err(Error::file(path, source)),
        };
        let file = rewrite(&path, &entries).map_err(|source| Error::file(&path, source))?;
        let next = last
            .filter(|address| range.contains(address))
            .map_or(0, |last| offset(range, last) + 1);
        Ok(Ledger {
            path,
            file,
            range,
            entries,
            resting: VecDeque::new(),
            next,
        })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (SlotId, Entry)> {
        self.entries.iter().map(|(slot, entry)| (*slot, *entry))
    }

    pub(crate) fn get(&self, slot: SlotId) -> Option<Entry> {
        self.entries.get(&slot).copied()
    }

    /// Takes an address for a slot that is about to be made.
    pub(crate) fn reserve(&mut self, slot: SlotId) -> Result<Ipv4Addr, Error> {
        if self.entries.contains_key(&slot) {
            return Err(Error::SlotTaken(slot));
        }
        let address = self.free_address(Instant::now()).ok_or(Error::NoAddress(self.range))?;
        self.append(&format!("+ {slot} {address}\n"))?;
        self.entries.insert(
            slot,
            Entry {
                address,
                complete: false,
            },
        );
        self.next = offset(self.range, address) + 1;
        Ok(address)
    }

    /// Notes that all of a slot is in the kernel.
    pub(crate) fn complete(&mut self, slot: SlotId) -> Result<(), Error> {
        self.append(&format!("= {slot}\n"))?;
        if let Some(entry) = self.entries.get_mut(&slot) {
            entry.complete = true;
        }
        Ok(())
    }

    /// Gives a slot's address back; it rests before it is used again.
    pub(crate) fn release(&mut self, slot: SlotId) -> Result<Option<Entry>, Error> {
        let Some(entry) = self.entries.get(&slot).copied() else {
            return Ok(None);
        };
        self.append(&format!("- {slot}\n"))?;
        self.entries.remove(&slot);
        self.resting.push_back((entry.address, Instant::now()));
        Ok(Some(entry))
    }

    /// The next address that nobody has. When only resting ones are left, the one that rests longest is taken.
    fn free_address(&mut self, now: Instant) -> Option<Ipv4Addr> {
        while self
            .resting
            .front()
            .is_some_and(|(_, since)| now.duration_since(*since) >= REST)
        {
            self.resting.pop_front();
        }
        let taken: std::collections::HashSet<Ipv4Addr> = self.entries.values().map(|entry| entry.address).collect();
        let resting: std::collections::HashSet<Ipv4Addr> = self.resting.iter().map(|(address, _)| *address).collect();
        // The first is the network's, the second the node's own, the last the broadcast address.
        let size = 1u64 << (32 - self.range.prefix_len());
        let usable = u32::try_from(size.saturating_sub(3)).ok()?;
        let base = u32::from(self.range.network()) + 2;
        let from = self.next.saturating_sub(2) % usable.max(1);
        let candidate = |step: u32| Ipv4Addr::from(base + (from + step) % usable);
        let fresh = (0..usable)
            .map(candidate)
            .find(|address| !taken.contains(address) && !resting.contains(address));
        fresh.or_else(|| {
            self.resting
                .iter()
                .map(|(address, _)| *address)
                .find(|address| !taken.contains(address))
        })
    }

    fn append(&mut self, line: &str) -> Result<(), Error> {
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| Error::file(&self.path, source))
    }
}

fn offset(range: Ipv4Net, address: Ipv4Addr) -> u32 {
    u32::from(address).wrapping_sub(u32::from(range.network()))
}

/// The entries, and the address that was given out last. `None` when it is not a ledger of this version.
fn read(text: &str) -> Option<(BTreeMap<SlotId, Entry>, Option<Ipv4Addr>)> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if first != FIRST_LINE {
        // Also the very first line can have been cut off.
        return (FIRST_LINE.starts_with(first) && rest.is_empty()).then(|| (BTreeMap::new(), None));
    }
    let (mut entries, mut last) = (BTreeMap::new(), None);
    for line in rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let mut words = line.split(' ');
        let (verb, slot) = (
            words.next(),
            words.next().and_then(|word| word.parse().ok()).map(SlotId),
        );
        let address = words.next().and_then(|word| word.parse::<Ipv4Addr>().ok());
        match (verb, slot, address) {
            (Some("+"), Some(slot), Some(address)) => {
                entries.insert(
                    slot,
                    Entry {
                        address,
                        complete: false,
                    },
                );
                last = Some(address);
            }
            (Some("="), Some(slot), None) => {
                if let Some(entry) = entries.get_mut(&slot) {
                    entry.complete = true;
                }
            }
            (Some("-"), Some(slot), None) => {
                entries.remove(&slot);
            }
            (Some("next"), _, _) => last = line.strip_prefix("next ").and_then(|word| word.parse().ok()),
            _ => tracing::warn!(line, "a line of the ledger makes no sense and is ignored"),
        }
    }
    Some((entries, last))
}

/// Writes the ledger anew with only what still holds, and returns it open at its end.
fn rewrite(path: &Path, entries: &BTreeMap<SlotId, Entry>) -> io::Result<File> {
    let last = match fs::read_to_string(path) {
        Ok(text) => read(&text).and_then(|(_, last)| last),
        Err(_) => None,
    };
    let fresh = path.with_extension("new");
    let mut text = format!("{FIRST_LINE}\n");
    for (slot, entry) in entries {
        text.push_str(&format!("+ {slot} {}\n", entry.address));
        if entry.complete {
            text.push_str(&format!("= {slot}\n"));
        }
    }
    if let Some(last) = last {
        text.push_str(&format!("next {last}\n"));
    }
    fs::write(&fresh, text)?;
    fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Ledger {
        Ledger::open(dir, "10.9.0.0/29".parse().unwrap()).unwrap()
    }

    #[test]
    fn it_is_found_again_and_goes_on_behind_the_last_address() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        assert_eq!(ledger.reserve(SlotId(1)).unwrap(), Ipv4Addr::new(10, 9, 0, 2));
        assert_eq!(ledger.reserve(SlotId(2)).unwrap(), Ipv4Addr::new(10, 9, 0, 3));
        ledger.complete(SlotId(2)).unwrap();
        ledger.release(SlotId(1)).unwrap();
        for _ in 0..2 {
            ledger = open(dir.path());
        }
        let entries: Vec<_> = ledger.entries().collect();
        assert_eq!(
            entries,
            [(
                SlotId(2),
                Entry {
                    address: Ipv4Addr::new(10, 9, 0, 3),
                    complete: true
                }
            )]
        );
        assert_eq!(ledger.reserve(SlotId(3)).unwrap(), Ipv4Addr::new(10, 9, 0, 4));
    }

    #[test]
    fn an_address_rests_until_no_other_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        for slot in 0..5 {
            ledger.reserve(SlotId(slot)).unwrap();
        }
        assert!(matches!(ledger.reserve(SlotId(9)), Err(Error::NoAddress(_))));
        ledger.release(SlotId(3)).unwrap();
        ledger.release(SlotId(1)).unwrap();
        assert_eq!(ledger.reserve(SlotId(9)).unwrap(), Ipv4Addr::new(10, 9, 0, 5));
        assert_eq!(ledger.reserve(SlotId(10)).unwrap(), Ipv4Addr::new(10, 9, 0, 3));
    }

    #[test]
    fn a_cut_line_is_ignored_and_another_version_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(FILE),
            format!("{FIRST_LINE}\n+ 1 10.9.0.2\n= 1\n+ 2 10.9."),
        )
        .unwrap();
        assert_eq!(open(dir.path()).entries().count(), 1);
        fs::write(dir.path().join(FILE), "gantry-network-ledger 2\n").unwrap();
        let range = "10.9.0.0/29".parse().unwrap();
        assert!(matches!(Ledger::open(dir.path(), range), Err(Error::LedgerVersion(_))));
    }
}
