//! Checkpoints: all records as of one revision, in blocks that are ordered by key, so that the log before them can go.

use std::sync::Arc;

use bytes::Bytes;
use meta::Revision;

use super::format::{
    BadHeader, FORMAT, FRAME_HEAD, FileKind, HEADER_LEN, Header, Input, Kept, begin_frame, checksum, decode_head,
    end_frame,
};
use super::frames::{Frames, Next};
use super::media::{File, Media};
use super::{damaged, io_error, random};
use crate::{Error, Key};

/// A block is written when it gets longer than this; a lookup reads one block.
const BLOCK: usize = 64 << 10;
/// So much is written between two syncs, so that the log's own syncs never wait behind a whole checkpoint.
const STRIDE: u64 = 4 << 20;

/// A checkpoint on the disk.
pub(crate) struct Checkpoint {
    pub(crate) name: String,
    pub(crate) revision: Revision,
    pub(crate) len: u64,
    salt: u32,
    file: Arc<dyn File>,
    /// The first key of every block, and where the block is.
    blocks: Vec<(Key, u64)>,
}

impl Checkpoint {
    pub(crate) fn name_of(revision: Revision) -> String {
        format!("state-{:016x}", revision.0)
    }

    /// Reads the whole of a checkpoint, and gives each record to `take`.
    pub(crate) fn load(
        name: &str,
        header: &Header,
        file: Arc<dyn File>,
        mut take: impl FnMut(Kept),
    ) -> Result<Self, Error> {
        let mut frames = Frames::new(name, Arc::clone(&file), header.salt, HEADER_LEN as u64);
        let (mut blocks, mut count) = (Vec::new(), 0);
        loop {
            let (offset, body) = match frames.next()? {
                Next::Frame { offset, body } => (offset, body),
                Next::End => break,
                Next::Bad { offset } => return Err(frames.damaged(offset, "a block's checksum is wrong")),
            };
            let mut input = Input(frames.body(body));
            let mut first = true;
            while !input.0.is_empty() {
                let kept = Kept::decode(&mut input).ok_or_else(|| damaged(name, offset, "a block cannot be read"))?;
                if std::mem::take(&mut first) {
                    blocks.push((kept.key.clone(), offset));
                }
                count += 1;
                take(kept);
            }
        }
        if count != header.number {
            return Err(frames.damaged(
                frames.offset(),
                &format!("{count} records instead of {}", header.number),
            ));
        }
        let len = frames.offset();
        Ok(Self {
            name: name.to_owned(),
            revision: header.revision,
            len,
            salt: header.salt,
            file,
            blocks,
        })
    }

    /// The value that a key had, and when it expires; the checkpoint must have it.
    pub(crate) fn value(&self, key: &Key, revision: Revision) -> Result<(Bytes, u64), Error> {
        let after = self.blocks.partition_point(|(first, _)| first <= key);
        let offset = after
            .checked_sub(1)
            .and_then(|block| self.blocks.get(block))
            .map(|(_, offset)| *offset);
        let missing = || {
            damaged(
                &self.name,
                offset.unwrap_or_default(),
                &format!("{key} at {revision} is missing"),
            )
        };
        let offset = offset.ok_or_else(missing)?;
        let body = self.block(offset)?;
        let mut input = Input(&body);
        while let Some(kept) = Kept::decode(&mut input) {
            if kept.key == *key && kept.revision == revision {
                return Ok((kept.value, kept.expires));
            }
        }
        Err(missing())
    }

    fn block(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let failed = |error| io_error(&format!("reading {}", self.name), error);
        let wrong = || damaged(&self.name, offset, "a block's checksum is wrong");
        let mut head = [0; FRAME_HEAD];
        self.file.read_at(&mut head, offset).map_err(failed)?;
        let (len, crc) = decode_head(&head).ok_or_else(wrong)?;
        let mut body = vec![0; len];
        let read = self
            .file
            .read_at(&mut body, offset + FRAME_HEAD as u64)
            .map_err(failed)?;
        let right = read == len && checksum(self.salt, u32::try_from(len).unwrap_or(u32::MAX), &body) == crc;
        right.then_some(body).ok_or_else(wrong)
    }
}

/// Reads the header of a file and checks that it is what its name says.
pub(crate) fn read_header(name: &str, file: &dyn File, kind: FileKind) -> Result<Option<Header>, Error> {
    let mut bytes = [0; HEADER_LEN];
    let read = file
        .read_at(&mut bytes, 0)
        .map_err(|error| io_error(&format!("reading {name}"), error))?;
    match Header::decode(&bytes[..read]) {
        Ok(header) if header.kind == kind => Ok(Some(header)),
        Err(BadHeader::Format(found)) => Err(Error::Format {
            file: name.to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Ok(None),
    }
}

/// Writes a checkpoint under a temporary name, and gives it its own when it is whole and durable.
pub(crate) struct Writing<'a> {
    media: &'a dyn Media,
    temporary: String,
    file: Arc<dyn File>,
    header: Header,
    offset: u64,
    synced: u64,
    buffer: Vec<u8>,
    blocks: Vec<(Key, u64)>,
}

impl<'a> Writing<'a> {
    pub(crate) fn begin(media: &'a dyn Media, revision: Revision, compacted: Revision) -> std::io::Result<Self> {
        let temporary = format!("{}.tmp", Checkpoint::name_of(revision));
        let file = media.create(&temporary)?;
        let header = Header {
            kind: FileKind::State,
            number: 0,
            revision,
            compacted,
            salt: random(),
        };
        let offset = HEADER_LEN as u64;
        Ok(Self {
            media,
            temporary,
            file,
            header,
            offset,
            synced: 0,
            buffer: Vec::new(),
            blocks: Vec::new(),
        })
    }

    /// Appends a record; they come in the order of their keys.
    pub(crate) fn push(&mut self, kept: &Kept) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            begin_frame(&mut self.buffer);
            self.blocks.push((kept.key.clone(), self.offset));
        }
        kept.encode(&mut self.buffer);
        self.header.number += 1;
        if self.buffer.len() > BLOCK {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        end_frame(0, self.header.salt, &mut self.buffer);
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        if self.offset - self.synced > STRIDE {
            self.file.sync()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    /// Makes it durable under its own name.
    pub(crate) fn finish(mut self) -> std::io::Result<Checkpoint> {
        self.flush()?;
        self.file.write_at(&self.header.encode(), 0)?;
        self.file.sync()?;
        let name = Checkpoint::name_of(self.header.revision);
        self.media.rename(&self.temporary, &name)?;
        self.media.sync_names()?;
        Ok(Checkpoint {
            name,
            revision: self.header.revision,
            len: self.offset,
            salt: self.header.salt,
            file: Arc::clone(&self.file),
            blocks: std::mem::take(&mut self.blocks),
        })
    }
}

impl Drop for Writing<'_> {
    /// One that was not finished must not take room on what may be a full disk. A finished one has another name.
    fn drop(&mut self) {
        let _not_there = self.media.remove(&self.temporary);
    }
}
