//! A segment of the log: where each of its transactions lies, and how one is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use meta::Revision;
use parking_lot::RwLock;

use super::format::{Effect, Entry, FRAME_HEAD, FileKind, Frame, HEADER_LEN, Header, checksum, decode_head};
use super::media::{File, Media};
use super::{damaged, io_error, random};
use crate::{Error, Key};

/// One file of the log.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) number: u64,
    /// The revision before its first transaction.
    pub(crate) base: Revision,
    pub(crate) salt: u32,
    pub(crate) file: Arc<dyn File>,
    /// How far it is written and durable.
    len: AtomicU64,
    /// The offset of each transaction's frame; every revision has one.
    offsets: RwLock<Vec<u32>>,
}

impl Segment {
    pub(crate) fn name_of(number: u64) -> String {
        format!("log-{number:016x}")
    }

    /// Begins a new file. Durable, its name too, when this returns.
    pub(crate) fn create(media: &dyn Media, number: u64, base: Revision, compacted: Revision) -> std::io::Result<Self> {
        let name = Self::name_of(number);
        let file = media.create(&name)?;
        let salt = random();
        let header = Header {
            kind: FileKind::Log,
            number,
            revision: base,
            compacted,
            salt,
        };
        let written = file
            .write_at(&header.encode(), 0)
            .and_then(|()| file.sync())
            .and_then(|()| media.sync_names());
        if let Err(error) = written {
            // The name is used again by the next try; what cannot be removed now is replaced then.
            let _best_effort = media.remove(&name);
            return Err(error);
        }
        Ok(Self::new(name, &header, file, HEADER_LEN as u64, Vec::new()))
    }

    pub(crate) fn new(name: String, header: &Header, file: Arc<dyn File>, len: u64, offsets: Vec<u32>) -> Self {
        Self {
            name,
            number: header.number,
            base: header.revision,
            salt: header.salt,
            file,
            len: AtomicU64::new(len),
            offsets: RwLock::new(offsets),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// The revision of its last transaction.
    pub(crate) fn last(&self) -> Revision {
        Revision(self.base.0 + self.offsets.read().len() as u64)
    }

    /// More has been written and is durable.
    pub(crate) fn grow(&self, len: u64, offsets: impl Iterator<Item = u32>) {
        self.offsets.write().extend(offsets);
        self.len.store(len, Ordering::Release);
    }

    /// Reads a transaction again.
    pub(crate) fn read(&self, revision: Revision) -> Result<Frame, Error> {
        let (offset, end) = {
            let offsets = self.offsets.read();
            let index = usize::try_from(revision.0 - self.base.0 - 1).unwrap_or(usize::MAX);
            let Some(offset) = offsets.get(index) else {
                return Err(damaged(
                    &self.name,
                    self.len(),
                    &format!("revision {revision} is not in it"),
                ));
            };
            (
                u64::from(*offset),
                offsets.get(index + 1).map_or(self.len(), |next| u64::from(*next)),
            )
        };
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or_default()];
        let read = self.file.read_at(&mut bytes, offset);
        let read = read.map_err(|error| io_error(&format!("reading {}", self.name), error))?;
        let whole = bytes.get(..read).unwrap_or_default();
        let frame = decode_head(whole).and_then(|(len, crc)| {
            let body = whole.get(FRAME_HEAD..FRAME_HEAD + len)?;
            let right = checksum(self.salt, u32::try_from(len).ok()?, body) == crc;
            right.then(|| Frame::decode(body))?
        });
        match frame {
            Some(frame) if frame.revision == revision => Ok(frame),
            _ => Err(damaged(
                &self.name,
                offset,
                &format!("revision {revision} cannot be read"),
            )),
        }
    }

    /// Reads one value of a transaction again, and when it expires.
    pub(crate) fn value(&self, key: &Key, revision: Revision) -> Result<(Bytes, u64), Error> {
        let frame = self.read(revision)?;
        if let Entry::Txn(writes) = frame.entry {
            for write in writes {
                if let (true, Effect::Put { value, expires }) = (write.key == *key, write.effect) {
                    return Ok((value, expires));
                }
            }
        }
        Err(damaged(
            &self.name,
            0,
            &format!("revision {revision} has no value of {key}"),
        ))
    }
}
