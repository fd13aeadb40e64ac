//! The bytes of a blob on their way: read by the one who unpacks, hashed and kept as they pass.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::blob::Hashing;
use crate::error::Result;

/// A blob as a reader: first what an earlier try has left, then what comes.
pub(super) struct Feed {
    hashing: Hashing<File>,
    /// Bytes of the file that are still to be read again.
    left: u64,
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
    /// The whole length.
    total: u64,
}

impl Feed {
    /// `file` has the first `have` bytes; `pieces` brings the rest.
    pub(super) fn new(
        mut file: File,
        have: u64,
        total: u64,
        digest: &str,
        pieces: mpsc::Receiver<Bytes>,
    ) -> Result<Self> {
        // From the start, so that the first bytes are hashed and unpacked too.
        let hashing = {
            use crate::error::At as _;
            file.seek(SeekFrom::Start(0)).at("reading", "a beginning of a blob")?;
            Hashing::of(file, digest)?
        };
        Ok(Self {
            hashing,
            left: have,
            pieces,
            current: Bytes::new(),
            total,
        })
    }

    /// Reads to the end and returns the file and the digest of all that passed.
    pub(super) fn finish(mut self) -> io::Result<(File, String)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hashing.finish())
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left > 0 {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            // Reading through the hash.
            let read = self.hashing.read(&mut buffer[..most])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= read as u64;
            return Ok(read);
        }
        if self.current.is_empty() {
            if self.hashing.length() == self.total {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(piece) => {
                    self.hashing.write_all(&piece)?;
                    self.current = piece;
                }
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download broke off")),
            }
        }
        let take = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..take]);
        Ok(take)
    }
}
