//! The bytes on the disk, format 1. Frozen: a change is a new format number, and this one stays readable.
//!
//! All numbers are little-endian. A file begins with a header of 64 bytes:
//!
//! ```text
//! 0 magic [8]   8 format u32   12 zero u32   16 number u64   24 revision u64   32 compacted u64   40 zero [16]
//! 56 salt u32   60 crc32 of what is before, u32
//! ```
//!
//! and goes on with frames, `mark u32, length u32, crc32 u32, body`, whose checksum begins with the file's salt and
//! covers length and body: a frame that is copied into another file, or into a value, is none.

use bytes::Bytes;
use meta::Revision;

use crate::Key;

/// The newest format that this program knows, and the one that it writes.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const HEADER_LEN: usize = 64;
/// mark, length, checksum
pub(crate) const FRAME_HEAD: usize = 12;
pub(crate) const MARK: u32 = 0xF7A3_E55A;
/// No body is longer: the largest transaction with what surrounds its keys and values, or a block of a checkpoint.
pub(crate) const MAX_BODY: usize = 2 << 20;

const LOG_MAGIC: &[u8; 8] = b"gantrylg";
const STATE_MAGIC: &[u8; 8] = b"gantryst";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A segment of the log.
    Log,
    /// A checkpoint: the state at one revision.
    State,
}

/// The first 64 bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FileKind,
    /// A segment's number in the log; in a checkpoint, how many records it has.
    pub(crate) number: u64,
    /// The revision before a segment's first transaction; the revision of a checkpoint.
    pub(crate) revision: Revision,
    /// How far history was compacted when the file was begun.
    pub(crate) compacted: Revision,
    pub(crate) salt: u32,
}

/// Why a header was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Damaged,
    Format(u32),
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(match self.kind {
            FileKind::Log => LOG_MAGIC,
            FileKind::State => STATE_MAGIC,
        });
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.revision.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.compacted.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let mut input = Input(bytes);
        Self::fields(&mut input, bytes)
    }

    fn fields(input: &mut Input<'_>, bytes: &[u8]) -> Result<Self, BadHeader> {
        let whole = bytes.get(..HEADER_LEN).ok_or(BadHeader::Damaged)?;
        let magic = input.take(8).ok_or(BadHeader::Damaged)?;
        let kind = match magic {
            magic if magic == LOG_MAGIC => FileKind::Log,
            magic if magic == STATE_MAGIC => FileKind::State,
            _ => return Err(BadHeader::Damaged),
        };
        let mut rest = || -> Option<(u32, Self, u32)> {
            let format = input.u32()?;
            input.u32()?;
            let (number, revision, compacted) = (input.u64()?, Revision(input.u64()?), Revision(input.u64()?));
            input.take(16)?;
            let salt = input.u32()?;
            Some((
                format,
                Self {
                    kind,
                    number,
                    revision,
                    compacted,
                    salt,
                },
                input.u32()?,
            ))
        };
        let (format, header, crc) = rest().ok_or(BadHeader::Damaged)?;
        if crc != crc32fast::hash(&whole[..HEADER_LEN - 4]) {
            return Err(BadHeader::Damaged);
        }
        if format != FORMAT {
            return Err(BadHeader::Format(format));
        }
        Ok(header)
    }
}

/// One key's change as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) effect: Effect,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A value; when it deletes itself, in milliseconds since 1970 (0: never).
    Put { value: Bytes, expires: u64 },
    /// Nothing.
    Delete,
}

/// What a frame of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// One transaction.
    Txn(Vec<Write>),
    /// History below this revision may be forgotten.
    Compact(Revision),
    /// The store was closed in good order; nothing was under way.
    Closed,
}

/// A frame of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The transaction's revision; for the others, the newest one.
    pub(crate) revision: Revision,
    /// Everything before this offset of the segment was durable when the frame was written: a damaged place before it
    /// cannot be the torn end of a write.
    pub(crate) durable: u64,
    /// When it was written, in milliseconds since 1970.
    pub(crate) time: u64,
    pub(crate) entry: Entry,
}

impl Frame {
    /// Appends the whole frame.
    pub(crate) fn encode(&self, salt: u32, out: &mut Vec<u8>) {
        let start = begin_frame(out);
        let (kind, count) = match &self.entry {
            Entry::Txn(writes) => (1u8, u16::try_from(writes.len()).unwrap_or(u16::MAX)),
            Entry::Compact(_) => (2, 0),
            Entry::Closed => (3, 0),
        };
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&count.to_le_bytes());
        for number in [self.revision.0, self.durable, self.time] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        match &self.entry {
            Entry::Txn(writes) => writes.iter().for_each(|write| encode_write(write, out)),
            Entry::Compact(to) => out.extend_from_slice(&to.0.to_le_bytes()),
            Entry::Closed => {}
        }
        end_frame(start, salt, out);
    }

    /// Reads a body whose checksum was right.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut input = Input(body);
        let kind = input.u8()?;
        input.u8()?;
        let count = input.u16()?;
        let (revision, durable, time) = (Revision(input.u64()?), input.u64()?, input.u64()?);
        let entry = match kind {
            1 => Entry::Txn((0..count).map(|_| decode_write(&mut input)).collect::<Option<_>>()?),
            2 => Entry::Compact(Revision(input.u64()?)),
            3 => Entry::Closed,
            _ => return None,
        };
        input.0.is_empty().then_some(Self {
            revision,
            durable,
            time,
            entry,
        })
    }
}

fn encode_write(write: &Write, out: &mut Vec<u8>) {
    let (kind, value, expires) = match &write.effect {
        Effect::Put { value, expires: 0 } => (1u8, value.as_ref(), 0),
        Effect::Put { value, expires } => (2, value.as_ref(), *expires),
        Effect::Delete => (3, &[][..], 0),
    };
    out.push(kind);
    encode_lengths(&write.key, value, out);
    if expires > 0 {
        out.extend_from_slice(&expires.to_le_bytes());
    }
    out.extend_from_slice(write.key.as_bytes());
    out.extend_from_slice(value);
}

fn decode_write(input: &mut Input<'_>) -> Option<Write> {
    let kind = input.u8()?;
    let (key, value) = (input.u16()?, input.u32()?);
    let expires = if kind == 2 { input.u64()? } else { 0 };
    let key = Key::from(std::str::from_utf8(input.take(key.into())?).ok()?);
    let value = input.take(value as usize)?;
    let effect = match kind {
        1 | 2 => Effect::Put {
            value: Bytes::copy_from_slice(value),
            expires,
        },
        3 => Effect::Delete,
        _ => return None,
    };
    Some(Write { key, effect })
}

/// A record of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) key: Key,
    pub(crate) revision: Revision,
    pub(crate) value: Bytes,
    pub(crate) expires: u64,
}

impl Kept {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        encode_lengths(&self.key, &self.value, out);
        out.extend_from_slice(&self.revision.0.to_le_bytes());
        out.extend_from_slice(&self.expires.to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.value);
    }

    /// Takes the next record off a block; `None` when it makes no sense.
    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (key, value) = (input.u16()?, input.u32()?);
        let (revision, expires) = (Revision(input.u64()?), input.u64()?);
        let key = Key::from(std::str::from_utf8(input.take(key.into())?).ok()?);
        let value = Bytes::copy_from_slice(input.take(value as usize)?);
        Some(Self {
            key,
            revision,
            value,
            expires,
        })
    }
}

/// The limits of [`crate::Txn::check`] keep both well within their types.
fn encode_lengths(key: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
}

/// Leaves room for a frame's head; the body is appended by the caller.
pub(crate) fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD]);
    start
}

/// Fills the head in, when the body is complete.
pub(crate) fn end_frame(start: usize, salt: u32, out: &mut [u8]) {
    let len = u32::try_from(out.len() - start - FRAME_HEAD).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&MARK.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    let crc = checksum(salt, len, &out[start + FRAME_HEAD..]);
    out[start + 8..start + 12].copy_from_slice(&crc.to_le_bytes());
}

/// A frame's head: how long its body is, and the checksum that it must have.
pub(crate) fn decode_head(head: &[u8]) -> Option<(usize, u32)> {
    let mut input = Input(head);
    let (mark, len, crc) = (input.u32()?, input.u32()? as usize, input.u32()?);
    (mark == MARK && len <= MAX_BODY).then_some((len, crc))
}

pub(crate) fn checksum(salt: u32, len: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&len.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// What is left to be read of some bytes.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}
